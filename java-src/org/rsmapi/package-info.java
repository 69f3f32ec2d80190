/**
 * Remote Shared Memory: the RSMAPI (section 3RSM of the Solaris and illumos manual) for Java.
 *
 * <p>{@link org.rsmapi.Controller} gives access to an interconnect. An {@link org.rsmapi.ExportSegment} is created and published on it;
 * an {@link org.rsmapi.ImportSegment} connects to a published segment, and a {@link org.rsmapi.Mapping} maps a part of it.
 * {@link org.rsmapi.SegmentMemory} has the methods that read and write. Every failure is an {@link org.rsmapi.RsmException}.
 *
 * <p>All classes can be used by any thread.
 *
 * <h2>Handles</h2>
 *
 * <p>Every handle is {@link java.lang.AutoCloseable}; {@code close()} is idempotent and may be called while other threads use the handle.
 * The strict call is the one of the RSMAPI: it fails if the handle is closed already, or in the state in brackets.
 *
 * <table class="striped">
 * <caption>Who closes a handle, and what its users get</caption>
 * <tr><th>handle</th><th>{@code close()}</th><th>strict call</th><th>its users get</th><th>if it is lost</th></tr>
 * <tr><td>{@link org.rsmapi.Controller}</td><td>drops one reference</td><td>{@code release()}</td>
 *     <td>its segments stay usable</td><td>stays open</td></tr>
 * <tr><td>{@link org.rsmapi.ExportSegment}</td><td>unpublishes and destroys</td>
 *     <td>{@code destroy()} [poll descriptors in use]</td>
 *     <td>BAD_SEG_HNDL; importers: CONN_ABORTED</td><td>destroyed, unless it is published</td></tr>
 * <tr><td>{@link org.rsmapi.ImportSegment}</td><td>unmaps and disconnects</td>
 *     <td>{@code disconnect()} [mapped, poll descriptors in use]</td>
 *     <td>BAD_SEG_HNDL; its mapping: SEG_NOT_MAPPED</td><td>unmapped and disconnected</td></tr>
 * <tr><td>{@link org.rsmapi.Mapping}</td><td>unmaps</td><td>{@link org.rsmapi.ImportSegment#unmap()}</td><td>SEG_NOT_MAPPED</td>
 *     <td>unmapped with its segment</td></tr>
 * <tr><td>{@link org.rsmapi.LocalMemory}</td><td>frees; segments and mappings in it stay until they are closed</td><td></td>
 *     <td>BAD_ADDR</td><td>freed</td></tr>
 * <tr><td>{@link org.rsmapi.LocalMemoryHandle}</td><td>frees the handle; the memory stays</td>
 *     <td>{@link org.rsmapi.Controller#freeLocalMemoryHandle}</td><td>BAD_LOCALMEM_HNDL</td><td></td></tr>
 * <tr><td>{@link org.rsmapi.Barrier}</td><td>destroys, without testing it</td><td>{@code destroy()}</td>
 *     <td>BARRIER_UNINITIALIZED</td><td></td></tr>
 * <tr><td>{@link org.rsmapi.Barrier.Scope}</td><td>tests the accesses since the open; may throw CONN_ABORTED</td>
 *     <td>{@link org.rsmapi.Barrier#closeBarrier()}</td><td>BARRIER_NOT_OPENED</td><td></td></tr>
 * <tr><td>{@link org.rsmapi.PollFd}</td><td>drops its reference</td><td>{@link org.rsmapi.Segment#releasePollfd()}</td>
 *     <td>the descriptor stays open until the segment is closed</td><td>the reference stays</td></tr>
 * </table>
 */
package org.rsmapi;
