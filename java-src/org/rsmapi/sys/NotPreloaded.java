package org.rsmapi.sys;

/** Marks a class that is initialised when it is needed, and not, as all others are, when the first controller opens. */
public interface NotPreloaded {
}
