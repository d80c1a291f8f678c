"""Options chosen on validation problems, and what was chosen judged on others."""
