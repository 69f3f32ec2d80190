package org.rsmapi.net;

import java.util.ArrayList;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** What one process of another node has at this gateway: its links, and its connections to segments of this host. */
final class Session {
    private final Gateway gateway;
    private final NodesFile.Entry peer;
    private final Map<Integer, Served> connections = new ConcurrentHashMap<>();
    private final Incoming control;
    private volatile Incoming bulk;
    private volatile boolean over;
    private final String id;

    Session(Gateway gateway, String id, Incoming control) {
        this.id = id;
        this.gateway = gateway;
        this.peer = control.peer();
        this.control = control;
    }

    Gateway gateway() {
        return gateway;
    }

    /** By which the node names it. */
    String id() {
        return id;
    }

    NodesFile.Entry peer() {
        return peer;
    }

    Incoming control() {
        return control;
    }

    Map<Integer, Served> connections() {
        return connections;
    }

    /** Takes the link for much data; false if there is one, or the session is over. */
    synchronized boolean setBulk(Incoming link) {
        if (over || bulk != null) {
            return false;
        }
        bulk = link;
        return true;
    }

    boolean isOver() {
        return over;
    }

    /** Ends it: the links, and all connections. */
    void end(String reason) {
        synchronized (this) {
            if (over) {
                return;
            }
            over = true;
        }
        gateway.forget(this);
        control.close();
        if (bulk != null) {
            bulk.close();
        }
        for (Served connection : new ArrayList<>(connections.values())) {
            connection.end();
        }
    }
}
