"""What is made of records: rows, statistics, tables, figures and the page."""
