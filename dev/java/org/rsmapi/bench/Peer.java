package org.rsmapi.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The other process of a measurement: the same program in a second JVM, started with a segment's id. It ends with its input. */
final class Peer implements AutoCloseable {
    private final Process process;
    private final OutputStream input;
    private final BufferedReader output;

    /** Starts it, and waits for its first line. */
    Peer(Class<?> program, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"), program.getName()));
        command.addAll(List.of(arguments));
        process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        input = process.getOutputStream();
        output = new BufferedReader(new InputStreamReader(process.getInputStream()));
        hear();
    }

    /** The next line that it prints. */
    String hear() throws IOException {
        String line = output.readLine();
        if (line == null) {
            throw new IOException("the other process has ended");
        }
        return line;
    }

    /** Sends it a line. */
    void tell(String line) throws IOException {
        input.write((line + "\n").getBytes());
        input.flush();
    }

    /** For the other process: ends it when its input ends, so never later than who started it. */
    static void endWithInput() {
        Thread thread = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    continue;
                }
            } catch (IOException e) {
                // as good as the end
            }
            Runtime.getRuntime().halt(0);
        });
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void close() throws IOException {
        input.close();
        try {
            process.waitFor();
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}
