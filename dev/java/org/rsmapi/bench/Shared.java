package org.rsmapi.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.Permission;

/**
 * A segment that is published, connected and mapped in one JVM, and the file with its pages: the peers map that one, so that
 * every side of a comparison works on the same memory in the same state.
 */
public final class Shared implements AutoCloseable {
    private static final int PAGE = 4096;

    final Controller controller = Controller.get("loopback");
    final ExportSegment export;
    final ImportSegment segment;
    private FileChannel channel;

    /** The size is rounded up to whole pages. */
    Shared(long bytes) {
        export = controller.exportCreate((bytes + PAGE - 1) / PAGE * PAGE);
        export.publish(0, null);
        segment = controller.importConnect(controller.nodeId(), export.segmentId(), Permission.RDWR);
    }

    /** The whole of it, with every page entered into the page table. */
    Mapping mapped() {
        Mapping mapping = segment.map();
        for (long at = 0; at < mapping.size(); at += PAGE) {
            mapping.putByte(at, (byte) 0);
        }
        return mapping;
    }

    /** The same pages for those who map files. */
    FileChannel channel() {
        if (channel == null) {
            channel = open();
        }
        return channel;
    }

    private static FileChannel open() {
        try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(Path.of("/proc/self/fd"))) {
            for (Path descriptor : descriptors) {
                if (Files.isSymbolicLink(descriptor)
                        && Files.readSymbolicLink(descriptor).toString().startsWith("/memfd:rsmapi-segment")) {
                    return FileChannel.open(descriptor, StandardOpenOption.READ, StandardOpenOption.WRITE);
                }
            }
            throw new IllegalStateException("this process has no memory file of a segment");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The same pages as a direct buffer, with every page entered into the page table. */
    MappedByteBuffer buffer(long bytes) {
        try {
            MappedByteBuffer buffer = channel().map(FileChannel.MapMode.READ_WRITE, 0, bytes);
            for (int at = 0; at < bytes; at += PAGE) {
                buffer.put(at, (byte) 0);
            }
            return buffer;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        try {
            if (channel != null) {
                channel.close();
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } finally {
            segment.close();
            export.close();
            controller.close();
        }
    }
}
