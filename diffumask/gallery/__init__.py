"""A page to look at a dataset with: one HTML file, without a server or a network.

The page is made of the files in `page/`, which are put into one at build time. Marks made in
it come back as JSON: see `diffumask.gallery.marks`.
"""
