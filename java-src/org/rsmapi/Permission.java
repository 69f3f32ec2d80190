package org.rsmapi;

/** What an importer may do with a segment: the values of {@code rsm_permission_t} for connect and map. */
public enum Permission {
    /** {@code RSM_PERM_NONE}, 0: a connection that may do nothing but exist. Not for mappings. */
    NONE(0),
    /** {@code RSM_PERM_READ}, 0400. */
    READ(0400),
    /** {@code RSM_PERM_WRITE}, 0200. */
    WRITE(0200),
    /** {@code RSM_PERM_RDWR}, 0600. */
    RDWR(0600);

    private final int bits;

    Permission(int bits) {
        this.bits = bits;
    }

    /** The RSMAPI's number. */
    public int bits() {
        return bits;
    }

    /** Whether reading is included. */
    public boolean reads() {
        return (bits & 0400) != 0;
    }

    /** Whether writing is included. */
    public boolean writes() {
        return (bits & 0200) != 0;
    }

    /** Whether everything {@code other} allows is allowed here too; null is not a permission, and not included. */
    public boolean includes(Permission other) {
        return other != null && (other.bits & ~bits) == 0;
    }

    /** The permission with these bits, or null if they are not exactly 0, 0400, 0200 or 0600. */
    public static Permission ofBits(int bits) {
        switch (bits) {
            case 0: return NONE;
            case 0400: return READ;
            case 0200: return WRITE;
            case 0600: return RDWR;
            default: return null;
        }
    }
}
