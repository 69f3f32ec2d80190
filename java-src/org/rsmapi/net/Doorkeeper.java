package org.rsmapi.net;

import java.io.IOException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/** The door for other nodes: it lets in who proves to be one. Callers of one address share places. */
final class Doorkeeper extends Door {
    Doorkeeper(Gateway gateway, Service service, ServerSocketChannel port) throws IOException {
        super(gateway, service, port, Fabric.INTRODUCTION_TIMES * gateway.fabric().timeout());
    }

    @Override
    Caller caller(SocketChannel socket) throws IOException {
        return new Stranger(socket);
    }

    /** TLS and greetings, then the HELLO. */
    private final class Stranger extends Caller {
        private final Object address;
        private final Introduction introduction;
        private final Frame frame = new Frame();
        private boolean introduced;

        Stranger(SocketChannel socket) {
            super(socket);
            this.address = address(socket);
            this.introduction = new Introduction(gateway().fabric().identity("link"), socket, -1);
        }

        @Override
        Object party() {
            return address;
        }

        @Override
        void hear() throws IOException {
            introduced = introduced || introduction.proceed();
            if (!introduced) {
                return;
            }
            TlsChannel channel = introduction.channel();
            do {
                if (channel.receive() < 0) {
                    throw new IOException("the other side has ended the connection");
                }
                if (frame.look(channel.received(), 0, channel.received().position())) {
                    leave();
                    gateway().letIn(introduction.link(), frame);
                    return;
                }
            } while (channel.hasMore());
        }

        @Override
        String failure(IOException e) {
            return reason(introduction.failure(e));
        }

        @Override
        void close() {
            introduction.close();
        }
    }
}
