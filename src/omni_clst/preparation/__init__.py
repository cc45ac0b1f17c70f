"""Convert downloaded data sets to checked samples, and report the problems of their rows and clips."""
