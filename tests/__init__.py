"""Tests of the package, one file for each module, and the scenarios that cut across them."""
