"""Readers of foreign files. Every byte is hostile until read: any surprise is an `InputError` that names the file."""
