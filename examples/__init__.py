"""Examples that can be run as they are; `kerasft quickstart` uses them."""
