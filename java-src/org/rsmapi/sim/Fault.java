package org.rsmapi.sim;

import java.util.Locale;

/**
 * One fault of a plan: at a time, or with the n-th message of a kind, something goes wrong. What happens to nodes, links and segments
 * happens when the message arrives, before it has an effect.
 *
 * @param kind     what goes wrong
 * @param at       when, in nanoseconds since the world began; -1 for one that comes with a message
 * @param message  the kind of message; null for one that comes at a time
 * @param nth      with which of these messages, from 1 on
 * @param from     CUT and MEND: from which node; KILL, STOP, CONTINUE, REVOKE: which node
 * @param to       CUT and MEND: to which node
 * @param segment  REVOKE: the id; -1, with a message, for the segment that the message is for
 * @param nanos    DELAY: by how much
 */
public record Fault(Kind kind, long at, Message message, int nth, int from, int to, long segment, long nanos) {
    /** What goes wrong. */
    public enum Kind {
        /** Nothing passes from one node to another any more; what is sent waits. */
        CUT,
        /** It passes again, and what has waited goes on. */
        MEND,
        /** A node ends at once. */
        KILL,
        /** A node does nothing any more. */
        STOP,
        /** It goes on. */
        CONTINUE,
        /** The exporter unpublishes the segment. */
        REVOKE,
        /** The message is lost. */
        LOSE,
        /** The message takes longer. */
        DELAY,
        /** The barrier fails, though all has arrived; so does a get or an atomic operation. */
        FAIL;

        /** Whether it is something that happens in the world, and not to the message. */
        boolean isOfTheWorld() {
            return this != LOSE && this != DELAY && this != FAIL;
        }
    }

    /** Kinds of messages. */
    public enum Message {
        CONNECT, ANSWER, PUT, GET, DATA, ATOMIC, RESULT, BARRIER, DONE, POST, REVOKED, DISCONNECT;

        /** Whether somebody waits for an answer that can say no. */
        boolean isQuestion() {
            return this == GET || this == ATOMIC || this == BARRIER;
        }

        /** As in data, such as {@code put}. */
        public String text() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** A message that is lost. */
    public static Fault lose(Message message, int nth) {
        return new Fault(Kind.LOSE, -1, message, nth, 0, 0, -1, 0);
    }

    /** A message that takes longer by so many nanoseconds. */
    public static Fault delay(Message message, int nth, long nanos) {
        return new Fault(Kind.DELAY, -1, message, nth, 0, 0, -1, nanos);
    }

    /** A barrier, get or atomic operation that fails. */
    public static Fault fail(Message message, int nth) {
        return new Fault(Kind.FAIL, -1, message, nth, 0, 0, -1, 0);
    }

    /** An exporter that revokes the segment for which a message is, when that arrives. */
    public static Fault revoke(Message message, int nth) {
        return new Fault(Kind.REVOKE, -1, message, nth, 0, 0, -1, 0);
    }

    /** KILL, STOP or CONTINUE of a node at a time. */
    public static Fault ofNode(Kind kind, long at, int node) {
        return new Fault(kind, at, null, 1, node, 0, -1, 0);
    }

    /** CUT or MEND of the way from one node to another at a time. */
    public static Fault ofLink(Kind kind, long at, int from, int to) {
        return new Fault(kind, at, null, 1, from, to, -1, 0);
    }

    /** Why it makes no sense, or null. */
    String objection() {
        if (message == null) {
            return at < 0 ? "a fault comes at a time or with a message"
                : !kind.isOfTheWorld() ? "this fault comes with a message"
                : kind == Kind.REVOKE && segment < 0 ? "a revocation at a time needs a segment id" : null;
        }
        return at >= 0 ? "a fault comes at a time or with a message, not both"
            : nth < 1 ? "messages are counted from 1 on"
            : kind == Kind.FAIL && !message.isQuestion() ? "only a barrier, a get and an atomic operation can fail" : null;
    }
}
