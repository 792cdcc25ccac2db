"""The page on which people compress their own photograph: `balle-li demo`. `trials` computes, `page` shows."""
