package org.rsmapi.net;

import java.io.IOException;
import java.nio.ByteBuffer;

/** The question how a gateway is doing, and its answer, between processes of a host. */
final class Status {
    private Status() {}

    /** Asks; the encoded answer. */
    static byte[] ask(Channel channel, long deadline) throws IOException {
        channel.sendAll(frame(new byte[0]), deadline);
        Frame frame = new Frame();
        channel.receiveUntil(() -> frame.look(channel.received(), 0, channel.received().position()), deadline);
        return frame.bytes(0, frame.length());
    }

    /** A frame with a question, or an answer. */
    static ByteBuffer frame(byte[] body) {
        ByteBuffer frame = ByteBuffer.allocate(Frame.HEADER + body.length);
        Frame.header(frame, body.length, Frame.STATUS, 0, 0, 0, 0);
        return frame.put(body).flip();
    }
}
