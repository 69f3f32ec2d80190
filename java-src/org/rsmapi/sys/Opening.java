package org.rsmapi.sys;

/**
 * What a method has opened so far. Unless {@link #done()} is called, leaving the try block closes it all, the last one first:
 *
 * <pre>{@code
 * try (Opening opening = new Opening(2)) {
 *     Fd file = opening.add(MemFd.create("name", length));
 *     EventFd counter = opening.add(new EventFd());
 *     Owner owner = new Owner(file, counter);
 *     opening.done();
 *     return owner;
 * }
 * }</pre>
 */
public final class Opening implements AutoCloseable {
    private final AutoCloseable[] opened;
    private int count;

    /** For at most so many; then {@link #add} needs no memory. */
    public Opening(int most) {
        opened = new AutoCloseable[most];
    }

    /** Adds what has just been opened, and returns it. */
    public <T extends AutoCloseable> T add(T resource) {
        opened[count++] = resource;
        return resource;
    }

    /** Says that everything has an owner now. */
    public void done() {
        count = 0;
    }

    @Override
    public void close() {
        if (count == 0) {
            return;
        }
        try {
            opened[--count].close();
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        } finally {
            close(); // the others, also after a failure
        }
    }
}
