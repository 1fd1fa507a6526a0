"""The cases that forecasts are fitted and judged on: data, networks, starts, trainings, labels."""
