//! ELF shared object -> segments, relocations, entries.
