"""Datasets read from the folders their authors distribute, without copying an image.

A layout is a function, registered in the entry-point group ``noisybench.layouts`` under the ``source`` that dataset
cards name. It takes the card, the folder (or CSV file), the user's checked labels if there are any, and the report that
it writes problems to; it returns a :class:`noisybench.data.listing.Listing`, or None where problems leave nothing to
list.
"""
