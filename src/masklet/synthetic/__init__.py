"""The synthetic world: scenes of picture symbols with exact masks, and the questions asked about them.

Here live the table of symbols, the renderer, the phrase generator, the train/evaluation split and the COCO-style
writer. Everything is a pure function of a seed; no model and no training is known here.
"""
