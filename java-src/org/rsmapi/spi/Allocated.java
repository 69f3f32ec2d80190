package org.rsmapi.spi;

/**
 * An owner of memory that the library has allocated for the caller: private and writable, and mapped for as long as the owner is in use.
 * What the kernel says of such a range need not be asked for.
 */
public interface Allocated {
}
