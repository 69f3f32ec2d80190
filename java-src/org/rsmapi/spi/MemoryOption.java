package org.rsmapi.spi;

/** How the memory of a segment, or of a mapping, is to be. */
public enum MemoryOption {
    /** All pages are there before the segment or mapping is. */
    PREFAULT,
    /** No page is swapped out. */
    LOCK,
    /** The pages are huge ones. */
    HUGE_PAGES
}
