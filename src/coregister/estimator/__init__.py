"""What a pair goes through, from its spectra and candidates to the optimum and its bars."""
