"""Generic network blocks: attention, feed-forward, rotary and sine positions."""
