package org.rsmapi.spi;

/** The memory of one export segment, and its publication. */
public interface ExportedMemory {
    /** Bytes that the description of a layout can have. */
    int MAX_LAYOUT_BYTES = 65_536;

    /** Where the exporter reaches it; the same until {@link #rebind}. */
    long address();

    /**
     * Publishes it.
     *
     * @param segmentId  a permitted id, unsigned, or 0 to have one chosen from 0x80000000 on
     * @param layout     what importers are told of the content, text in UTF-8, in at most {@link #MAX_LAYOUT_BYTES} bytes; null for nothing
     * @param gate       closed while memory has to be moved
     * @return the id
     */
    int publish(int segmentId, AccessPolicy access, byte[] layout, Gate gate);

    /** Changes the access list for later connects. */
    void republish(AccessPolicy access);

    /**
     * Ends the publication. When this returns, no importer sees the memory or changes it. The content stays for the exporter.
     */
    void unpublish();

    /**
     * Takes other memory of the caller's, of the same length and with what it contains, in the place of the present one. Importers
     * see it at once, where they have mapped the segment, or with what they ask for from now on. Memory that was adopted before keeps its
     * content and address; that which was allocated may be emptied, but its addresses stay until {@link #unmap}. If it fails, the segment
     * has its present memory, and the gate is open.
     *
     * @param address  a multiple of the page size
     * @param owner    kept reachable for as long as the memory is used; null if there is nothing to keep
     * @param gate     closed meanwhile
     */
    void rebind(long address, Object owner, Gate gate);

    /** Ends the publication if there is one, and the memory. Memory that was adopted keeps its content and address. */
    void destroy();

    /** Returns the addresses that were allocated for it to the system, after {@link #destroy()}; nothing may be using them. */
    void unmap();

    /** The events that importers post for the export segment; they end with {@link #destroy()}. */
    Signals signals();

    /**
     * Posts one event for every importer that is connected. May be called at any time.
     *
     * @param accumulate  if not, an importer that has events already gets none
     */
    void post(boolean accumulate);

    /** How many importers are connected. May be called at any time. */
    int importers();

    /**
     * Keeps the exporter's own access through the library away. Both methods are called in one thread, one after the other, in the call to
     * which the gate was given; {@link #shut} before any lock is taken for which an access may have to wait.
     */
    interface Gate {
        /** From now on access waits; returns when none is under way. */
        void shut();

        /** Lets them go on, at the address that {@link ExportedMemory#address()} says now. */
        void open();
    }
}
