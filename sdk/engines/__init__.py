"""Forward passes of adapters on one model: slots, racks, torch modules, the fast engine, training written out."""
