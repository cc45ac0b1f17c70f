"""What both training stages share, and supervised fine-tuning."""
