"""Files in and out: FITS, TIFF, PNG, JPEG, NPY."""
