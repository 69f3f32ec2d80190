package org.rsmapi.net;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECKey;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.spi.ConfFile;

/**
 * The key by which a node proves that it is that node: a file with an EC private key and a certificate of its public key, both in PEM,
 * that nobody but its owner may read. Other nodes know the public key by its {@link #fingerprint()}, from the {@link NodesFile}.
 *
 * @param file        where it was read from
 * @param key         the private key
 * @param certificate of the public key
 */
public record KeyFile(Path file, PrivateKey key, X509Certificate certificate) {
    private static final ConfFile FILE = file(0);
    private static final String OP = "key";
    private static final String CURVE = "secp256r1";
    private static final String SIGNING = "SHA256withECDSA";
    private static final int OTHERS = 077;
    private static final Pattern PEM = Pattern.compile("-----BEGIN ([A-Z ]+)-----([A-Za-z0-9+/=\\s]*)-----END \\1-----");
    private static final int LINE = 64;
    /** A clock of another host that is slow by less than that finds a new key valid. */
    private static final Duration EARLIER = Duration.ofDays(1);
    private static final Duration LONGEST = Duration.ofDays(100 * 365);

    private static ConfFile file(int unit) {
        return ConfFile.ofUnit("keys", "key", unit);
    }

    /**
     * Where the file for a controller is: what the system property {@code rsmapi.key} or the environment variable {@code RSMAPI_KEY}
     * says, or {@code /etc/rsm/rsm.key}. For {@code net1} and so on these are {@code rsmapi.net1.key}, {@code RSMAPI_NET1_KEY} and
     * {@code /etc/rsm/net1.key}.
     *
     * @throws RsmException BAD_CONF if that cannot be the name of a file
     */
    public static Path defaultFile(String op, int unit) {
        return file(unit).path(op);
    }

    /**
     * Makes a key and a file for it, which only the caller may read and write.
     *
     * @param validity  for how long the key is accepted
     * @throws RsmException BAD_ARGS_ERRORS (the validity is not between a second and a hundred years), BAD_CONF (the file is there already,
     *     or cannot be made)
     */
    public static KeyFile make(Path file, Duration validity) {
        if (validity.compareTo(Duration.ofSeconds(1)) < 0 || validity.compareTo(LONGEST) > 0) {
            throw RsmException.of(RsmError.BAD_ARGS_ERRORS, OP).with("argument", "validity").with("value", validity.toString())
                .hint("a key is valid for a second at least, and for a hundred years at most");
        }
        try {
            KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
            generator.initialize(new ECGenParameterSpec(CURVE));
            KeyPair pair = generator.generateKeyPair();
            Instant now = Instant.now();
            X509Certificate certificate = SelfSigned.of(pair, "rsmapi node", now.minus(EARLIER), now.plus(validity));
            write(file, pem("PRIVATE KEY", pair.getPrivate().getEncoded()) + pem("CERTIFICATE", certificate.getEncoded()));
            return new KeyFile(file, pair.getPrivate(), certificate);
        } catch (FileAlreadyExistsException e) {
            throw ConfFile.failure(OP, file).causedBy(e).hint("the file is there already: a key is not replaced by mistake");
        } catch (IOException | RuntimeException e) {
            throw ConfFile.failure(OP, file).with("reason", ConfFile.reason(e)).causedBy(e).hint("the file cannot be made");
        } catch (GeneralSecurityException e) {
            throw unsupported(file, e);
        }
    }

    private static void write(Path file, String text) throws IOException {
        Set<StandardOpenOption> options = EnumSet.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
        try (FileChannel channel = FileChannel.open(file, options,
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")))) {
            fill(channel, file, text); // the file is ours: nothing else is deleted
        }
    }

    private static void fill(FileChannel channel, Path file, String text) throws IOException {
        boolean done = false;
        try {
            ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.US_ASCII));
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
            channel.force(true);
            done = true;
        } finally {
            if (!done) {
                Files.deleteIfExists(file); // not half a key
            }
        }
    }

    private static String pem(String type, byte[] bytes) {
        return "-----BEGIN " + type + "-----\n" + Base64.getMimeEncoder(LINE, new byte[] {'\n'}).encodeToString(bytes)
            + "\n-----END " + type + "-----\n";
    }

    /**
     * Reads a file.
     *
     * @throws RsmException BAD_CONF, with the file: it cannot be read, others may read it or own it, it is malformed, its parts do not
     *     belong together, or the key is not valid yet, or not any more
     */
    public static KeyFile read(String op, Path file) {
        FILE.checkOwner(op, file, OTHERS, "others than its owner may use the file: chmod 600 it, and if they may have read it, make another key");
        String text = String.join("\n", FILE.lines(op, file));
        byte[] key = part(op, file, text, "PRIVATE KEY");
        byte[] certificate = part(op, file, text, "CERTIFICATE");
        try {
            X509Certificate found =
                (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(certificate));
            PrivateKey secret = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(key));
            if (!(found.getPublicKey() instanceof ECKey) || !belong(secret, found.getPublicKey())) {
                throw ConfFile.failure(op, file).hint("the certificate is not that of the private key");
            }
            String objection = objection(found);
            if (objection != null) {
                throw ConfFile.failure(op, file).with("not-before", found.getNotBefore().toInstant().toString())
                    .with("not-after", found.getNotAfter().toInstant().toString()).hint(objection);
            }
            return new KeyFile(file, secret, found);
        } catch (GeneralSecurityException e) {
            throw ConfFile.failure(op, file).with("reason", e.toString()).causedBy(e).hint("it is not a key that was made for a node");
        }
    }

    private static byte[] part(String op, Path file, String text, String type) {
        byte[] found = null;
        Matcher parts = PEM.matcher(text);
        while (parts.find()) {
            if (parts.group(1).equals(type)) {
                if (found != null) {
                    throw ConfFile.failure(op, file).hint("there is more than one " + type + " in the file");
                }
                try {
                    found = Base64.getMimeDecoder().decode(parts.group(2));
                } catch (IllegalArgumentException e) {
                    throw ConfFile.failure(op, file).causedBy(e).hint("the " + type + " is not in Base64");
                }
            }
        }
        if (found == null) {
            throw ConfFile.failure(op, file).hint("there is no " + type + " in the file");
        }
        return found;
    }

    private static boolean belong(PrivateKey secret, PublicKey open) throws GeneralSecurityException {
        byte[] text = new byte[LINE];
        Signature signature = Signature.getInstance(SIGNING);
        signature.initSign(secret);
        signature.update(text);
        byte[] signed = signature.sign();
        signature.initVerify(open);
        signature.update(text);
        return signature.verify(signed);
    }

    private static RsmException unsupported(Path file, GeneralSecurityException e) {
        return RsmException.of(RsmError.INSUFFICIENT_RESOURCES, OP).with("file", file.toString()).with("reason", e.toString()).causedBy(e)
            .hint("this JVM cannot make keys on the curve " + CURVE);
    }

    /** Why a certificate is not valid now, or null. */
    static String objection(X509Certificate certificate) {
        Instant now = Instant.now();
        return now.isBefore(certificate.getNotBefore().toInstant()) ? "the key is not valid yet: does the clock go right?"
            : now.isAfter(certificate.getNotAfter().toInstant()) ? "the key has expired: make another one" : null;
    }

    /** How nodes files name the public key. */
    public String fingerprint() {
        return fingerprint(certificate.getPublicKey());
    }

    /** The same of any public key. */
    static String fingerprint(PublicKey key) {
        try {
            return "sha256:" + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(key.getEncoded()));
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e); // every JVM has SHA-256
        }
    }

    /** Without the key. */
    @Override
    public String toString() {
        return "#<KeyFile " + file + " " + fingerprint() + ">";
    }
}
