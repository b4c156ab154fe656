"""The functions of the package `image_registration`, its names and conventions, on this core."""
