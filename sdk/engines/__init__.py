"""Forward passes of adapters on one model: slots and racks, torch modules, and training written out for BERT."""
