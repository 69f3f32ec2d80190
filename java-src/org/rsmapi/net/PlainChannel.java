package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;

/** A channel without TLS: between a process and the gateway of its own host. */
final class PlainChannel extends Channel {
    private boolean more;

    PlainChannel(SocketChannel socket) throws IOException {
        super(socket, 2 * Frame.LARGEST);
    }

    @Override
    int receive() throws IOException {
        int room = received().remaining();
        int n = room == 0 ? 0 : read(received());
        more = n > 0 && n == room;
        return n;
    }

    @Override
    boolean hasMore() {
        return more;
    }

    @Override
    boolean send(ByteBuffer plain) throws IOException {
        sending.lock();
        try {
            if (plain.hasRemaining()) {
                socket().write(plain);
            }
            return !plain.hasRemaining();
        } finally {
            sending.unlock();
        }
    }
}
