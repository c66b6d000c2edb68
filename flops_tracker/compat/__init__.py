"""Other counters' names, so that changing one import is enough; the numbers are flops_tracker's."""
