/**
 * What an interconnect offers to the library, and what of the library it may use. This page is for those who write an interconnect.
 *
 * <p><b>How it is found.</b> A jar names its {@link org.rsmapi.spi.InterconnectProvider} in
 * {@code META-INF/services/org.rsmapi.spi.InterconnectProvider}. The class is public and has a public constructor without parameters.
 * Instances live for one call: whatever has to last is static. {@code open} is called each time an application asks for a controller. If
 * that controller is open already, the new {@link org.rsmapi.spi.Interconnect} is closed at once, and the one that is there goes on.
 *
 * <p><b>Two kinds.</b> Where memory can be shared, an importer's {@link org.rsmapi.spi.Connection#map} returns the exporter's memory as a
 * {@link org.rsmapi.spi.MappedRange} ({@link org.rsmapi.spi.PlacedRange} does most of it), and {@code remote()} is null. Where data has
 * to be moved, {@link org.rsmapi.spi.Connection#remote} returns a {@link org.rsmapi.spi.RemoteMemory}, nothing is mapped, and the library
 * makes mappings that are copies. {@link org.rsmapi.Capabilities} says the same, once for the controller and once for each connection:
 * SHARED in the first case, MIRRORED in the second.
 *
 * <p><b>A segment's life</b>, in the order of calls:
 *
 * <ol>
 * <li>{@code allocate} (zeros) or {@code adopt} (memory of the caller's, whose content stays);</li>
 * <li>{@code publish}, then any number of {@code republish}, then {@code unpublish}; after that {@code publish} again, also with the same
 *     id. The model calls {@code republish} and {@code unpublish} of a published segment only;</li>
 * <li>{@code rebind} at any time before the end, whether it is published or not;</li>
 * <li>{@code destroy}, which ends a publication too; if it fails, it is called again. Then, when nobody can be using the addresses any
 *     more, {@code unmap}, once, also of adopted memory, for which it does nothing.</li>
 * </ol>
 *
 * <p>An importer's: {@code connect}; {@code map} or the methods of the remote memory; {@code close}, which may come more than once.
 *
 * <p><b>Threads.</b> Calls on one {@code ExportedMemory}, and calls on one {@code Connection}, come one at a time, under a lock of the
 * handle: what one call has written, the next one sees, also in another thread. Excepted are methods whose description says "at any time",
 * {@code Connection.aborted()}, and all of {@code RemoteMemory}. Calls on different handles of one segment (the exporter's, and each
 * importer's) come at the same time. {@code Connection.close} does not wait for calls of its remote memory; those that are under way
 * may still use the local memory, which stays until they return.
 *
 * <p><b>The end of a connection.</b> When the exporter revokes the segment or is gone, the interconnect first makes
 * {@code Connection.aborted()} true and wakes those who wait for signals, and then calls the {@code AbortListener}, without any lock that
 * methods of the connection take. That may be in any thread, in the middle of a call of the connection or of the exporter's
 * {@code unpublish}, and before {@code connect} has returned. The listener does not throw, and takes the importer's lock. When
 * {@code unpublish} or {@code destroy} returns, no importer reads or changes the memory any more; so it waits for moves under way, which
 * should therefore be made in pieces.
 *
 * <p><b>What may be kept.</b> A listener may be kept for as long as the connection is open: it does not keep the importer's handle
 * reachable, which is closed when it is lost. A gate may be kept while the segment is published, and no longer. An owner has to be kept
 * for as long as its memory is used.
 *
 * <p><b>Failures</b> are {@link org.rsmapi.RsmException}s; {@link org.rsmapi.spi.Failures} makes one of a failed system call. Anything
 * else that is thrown reaches the application as it is. A call that fails has changed nothing, unless its description says otherwise. The
 * operation that an exception names is that of the call:
 *
 * <table>
 * <caption>Operations, and the errors that an application expects</caption>
 * <tr><th>method</th><th>operation</th><th>errors</th></tr>
 * <tr><td>{@code InterconnectProvider.open}</td><td>{@code get-controller}</td><td>CTLR_NOT_PRESENT (there is one of this kind, but not
 *     here), BAD_CONF, INSUFFICIENT_RESOURCES, INSUFFICIENT_MEM</td></tr>
 * <tr><td>{@code allocate}, {@code adopt}</td><td>{@code export-create}</td><td>INSUFFICIENT_MEM (no memory or addresses; it cannot be
 *     locked), INSUFFICIENT_RESOURCES (also: no huge pages); {@code adopt} also BAD_ADDR (not mapped, or a file mapped shared),
 *     PERM_DENIED (not writable)</td></tr>
 * <tr><td>{@code publish}</td><td>{@code export-publish}</td><td>SEGID_IN_USE (on this node, whatever the controller),
 *     INSUFFICIENT_RESOURCES, INSUFFICIENT_MEM</td></tr>
 * <tr><td>{@code rebind}</td><td>{@code export-rebind}</td><td>as {@code adopt}; REBIND_NOT_ALLOWED</td></tr>
 * <tr><td>{@code unpublish}, {@code destroy}</td><td>{@code export-unpublish}, {@code export-destroy}</td><td>INSUFFICIENT_MEM (call
 *     again)</td></tr>
 * <tr><td>{@code connect}</td><td>{@code import-connect}</td><td>REMOTE_NODE_UNREACHABLE (there is no way to the node),
 *     SEG_NOT_PUBLISHED, SEG_NOT_PUBLISHED_TO_NODE (the access list does not name the importer's node), PERM_DENIED (not granted),
 *     BAD_DRIVER_VERSION, CONN_ABORTED (the exporter has ended the connection), TIMEOUT (no answer until the deadline),
 *     INSUFFICIENT_RESOURCES, INTERRUPTED</td></tr>
 * <tr><td>{@code map}</td><td>{@code import-map}</td><td>CONN_ABORTED, BAD_LENGTH (the addresses cannot be used),
 *     INSUFFICIENT_RESOURCES, INSUFFICIENT_MEM, MAP_FAILED; {@link org.rsmapi.spi.NoRoom} with one of these, where closed mappings may
 *     have what is lacking: only here, the model tries again</td></tr>
 * <tr><td>{@code post}</td><td>{@code signal-post}</td><td>CONN_ABORTED (an import segment, also when closed), INSUFFICIENT_RESOURCES (a
 *     counter is at its end; the other importers have got their event)</td></tr>
 * <tr><td>{@code RemoteMemory}</td><td>any: the model names its own</td><td>BARRIER_OPEN_FAILED ({@code open}), BARRIER_FAILURE,
 *     CONN_ABORTED</td></tr>
 * </table>
 *
 * <p><b>Who may connect.</b> {@link org.rsmapi.spi.AccessPolicy#digits} of the importer's node are three octal digits, as for a file: the
 * first holds if the importer's user is the exporter's, the second if one of the importer's groups is the exporter's, else the third; 4 is
 * the right to read, 2 to write. A connect without any permission succeeds if the digit is not 0. An interconnect that cannot tell users
 * takes the third digit. It checks the permission itself, on the exporter's side, if its capabilities say ENFORCED.
 *
 * <p><b>What of the library it may use.</b> This package; the values of {@code org.rsmapi}; {@code org.rsmapi.mem.Engine}, for memory by
 * its address, whose copies keep whole what is aligned alike on both sides; and {@code org.rsmapi.sys.Vm}. A provider calls
 * {@link org.rsmapi.spi.Preload#once} before it opens its first controller, and {@link org.rsmapi.spi.Entrance#require} where it needs
 * native functions without one. {@code test/java/org/rsmapi/trial/CopyProvider.java} is an interconnect within one process.
 */
package org.rsmapi.spi;
