package org.rsmapi.spi;

/** The memory of one export segment, and its publication. */
public interface ExportedMemory {
    /** Where the exporter reaches it; the same for as long as it lives. */
    long address();

    /**
     * Publishes it.
     *
     * @param segmentId  a permitted id, or 0 to have one chosen
     * @param gate       closed while memory has to be moved
     * @return the id
     */
    int publish(int segmentId, AccessPolicy access, Gate gate);

    /** Changes the access list for later connects. */
    void republish(AccessPolicy access);

    /**
     * Ends the publication. When this returns, no importer sees the memory or changes it. The content stays for the exporter.
     */
    void unpublish();

    /** Ends the publication if there is one, and the memory. Memory that was adopted keeps its content and address. */
    void destroy();

    /** Gives the address range back, after {@link #destroy()} and when nobody can reach it any more. */
    void giveBack();

    /** How many importers are connected. May be called at any time. */
    int importers();

    /** Keeps the exporter's own access through the library away. */
    interface Gate {
        /** From now on access waits; returns when none is under way. */
        void shut();

        /** Lets them go on. */
        void open();
    }
}
