package org.rsmapi.spi;

/** The memory of one export segment, and its publication. */
public interface ExportedMemory {
    /** Where the exporter reaches it; the same until {@link #rebind}. */
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

    /**
     * Takes other memory of the caller's, of the same length and with what it contains, in the place of the present one. Importers
     * see it at once, where they have mapped the segment. Memory that was adopted before keeps its content and address.
     *
     * @param address  a multiple of the page size
     * @param owner    kept reachable for as long as the memory is used; null if there is nothing to keep
     * @param gate     closed meanwhile
     */
    void rebind(long address, Object owner, Gate gate);

    /** Ends the publication if there is one, and the memory. Memory that was adopted keeps its content and address. */
    void destroy();

    /** Gives back the address ranges that were allocated for it, after {@link #destroy()} and when nobody can reach it any more. */
    void giveBack();

    /** The signals of the export segment; they end with {@link #destroy()}. */
    Signals signals();

    /** How many importers are connected. May be called at any time. */
    int importers();

    /** Keeps the exporter's own access through the library away. */
    interface Gate {
        /** From now on access waits; returns when none is under way. */
        void shut();

        /** Lets them go on, at the address that {@link ExportedMemory#address()} says now. */
        void open();
    }
}
