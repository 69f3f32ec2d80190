package org.rsmapi.bench;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;
import org.rsmapi.net.KeyFile;

/**
 * The same moves over a blocking socket, plain or with TLS 1.3 and a certificate on each side:
 *
 * <pre>
 * HostSocket serve plain|tls own-key other-key
 * HostSocket call plain|tls own-key other-key address short|bulk seconds pids...
 * </pre>
 *
 * <p>A put is its bytes and one byte back, a get one byte and its bytes back.
 */
public final class HostSocket {
    private static final int PORT = 7464;
    private static final int KIB = 1024;
    private static final int MIB = 1024 * KIB;
    private static final int LARGEST = 16 * MIB;
    private static final char[] PASSWORD = "password".toCharArray();

    private HostSocket() {
    }

    public static void main(String[] args) throws Exception {
        SSLContext tls = args[1].equals("tls") ? context(KeyFile.read("key", Path.of(args[2])), KeyFile.read("key", Path.of(args[3]))) : null;
        if (args[0].equals("serve")) {
            Peer.endWithInput();
            serve(tls);
        } else {
            List<String> processes = new ArrayList<>(List.of(args).subList(7, args.length));
            processes.add("self");
            try (Socket socket = socket(tls, args[4])) {
                call(socket, args[5], new Batches(Double.parseDouble(args[6]), processes));
            }
        }
    }

    // ---- sockets ----

    private static SSLContext context(KeyFile own, KeyFile other) throws GeneralSecurityException, IOException {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        keys.load(null);
        keys.setKeyEntry("own", own.key(), PASSWORD, new Certificate[] {own.certificate()});
        keys.setCertificateEntry("other", other.certificate());
        KeyManagerFactory keyManagers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keyManagers.init(keys, PASSWORD);
        TrustManagerFactory trustManagers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trustManagers.init(keys);
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(keyManagers.getKeyManagers(), trustManagers.getTrustManagers(), null);
        return context;
    }

    private static Socket socket(SSLContext tls, String address) throws IOException {
        if (tls == null) {
            return new Socket(address, PORT);
        }
        SSLSocket socket = (SSLSocket) tls.getSocketFactory().createSocket(address, PORT);
        socket.startHandshake();
        return socket;
    }

    private static ServerSocket serverSocket(SSLContext tls) throws IOException {
        if (tls == null) {
            return new ServerSocket(PORT);
        }
        SSLServerSocket socket = (SSLServerSocket) tls.getServerSocketFactory().createServerSocket(PORT);
        socket.setNeedClientAuth(true);
        return socket;
    }

    // ---- the one that serves ----

    private static void serve(SSLContext tls) throws IOException {
        try (ServerSocket server = serverSocket(tls)) {
            System.out.println("ready");
            try (Socket socket = server.accept()) {
                socket.setTcpNoDelay(true);
                DataInputStream in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
                OutputStream out = socket.getOutputStream();
                byte[] bytes = new byte[LARGEST];
                while (true) {
                    boolean put = in.readBoolean();
                    int size = in.readInt();
                    for (int count = in.readInt(); count > 0; count--) {
                        in.readFully(bytes, 0, put ? size : 1);
                        out.write(bytes, 0, put ? 1 : size);
                    }
                }
            } catch (EOFException e) {
                return; // the caller has ended
            }
        }
    }

    // ---- the one that calls ----

    private static void call(Socket socket, String what, Batches batches) throws Exception {
        socket.setTcpNoDelay(true);
        Caller caller = new Caller(new DataInputStream(socket.getInputStream()), new DataOutputStream(socket.getOutputStream()));
        if (what.equals("short")) {
            moves(caller, batches, 8, "8");
            moves(caller, batches, 4 * KIB, "4k");
            moves(caller, batches, 64 * KIB, "64k");
            batches.measure("signal", caller.operation(true, 1));
        } else {
            moves(caller, batches, MIB, "1m");
            moves(caller, batches, batches.isQuick() ? MIB : 16 * MIB, "16m");
        }
    }

    private static void moves(Caller caller, Batches batches, int size, String name) throws Exception {
        batches.measure("put" + name, size, caller.operation(true, size));
        batches.measure("get" + name, size, caller.operation(false, size));
    }

    private record Caller(DataInputStream in, DataOutputStream out) {
        Batches.Operation operation(boolean put, int size) {
            byte[] bytes = new byte[size];
            return new Batches.Timed() {
                @Override
                public void begin(int count) throws IOException {
                    out.writeBoolean(put);
                    out.writeInt(size);
                    out.writeInt(count);
                }

                @Override
                public void run() throws IOException {
                    out.write(bytes, 0, put ? size : 1);
                    in.readFully(bytes, 0, put ? 1 : size);
                }
            };
        }
    }
}
