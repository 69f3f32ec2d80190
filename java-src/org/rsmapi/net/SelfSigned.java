package org.rsmapi.net;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/**
 * The certificate that TLS wants around a key (RFC 5280, version 1, written in DER). Nobody relies on anything in it but the key and the
 * dates.
 */
final class SelfSigned {
    private static final int INTEGER = 0x02;
    private static final int BIT_STRING = 0x03;
    private static final int OBJECT_IDENTIFIER = 0x06;
    private static final int UTF8_STRING = 0x0C;
    private static final int GENERALIZED_TIME = 0x18;
    private static final int UTC_TIME = 0x17;
    private static final int SEQUENCE = 0x30;
    private static final int SET = 0x31;
    /** From this year on times are written with four digits of the year. */
    private static final int GENERALIZED_FROM = 2050;
    private static final int SERIAL_BITS = 127;
    private static final int SHORT_FORM = 0x80;
    /** 1.2.840.10045.4.3.2: ECDSA with SHA-256. */
    private static final byte[] ECDSA_WITH_SHA256 = {0x2A, (byte) 0x86, 0x48, (byte) 0xCE, 0x3D, 0x04, 0x03, 0x02};
    /** 2.5.4.3: the common name. */
    private static final byte[] COMMON_NAME = {0x55, 0x04, 0x03};

    private SelfSigned() {}

    /** A certificate for a pair of EC keys. */
    static X509Certificate of(KeyPair pair, String name, Instant from, Instant until) throws GeneralSecurityException {
        byte[] algorithm = der(SEQUENCE, der(OBJECT_IDENTIFIER, ECDSA_WITH_SHA256));
        byte[] who = der(SEQUENCE, der(SET, der(SEQUENCE, der(OBJECT_IDENTIFIER, COMMON_NAME),
            der(UTF8_STRING, name.getBytes(StandardCharsets.UTF_8)))));
        byte[] content = der(SEQUENCE,
            der(INTEGER, new BigInteger(SERIAL_BITS, new SecureRandom()).setBit(SERIAL_BITS - 1).toByteArray()),
            algorithm, who, der(SEQUENCE, time(from), time(until)), who, pair.getPublic().getEncoded());
        Signature signature = Signature.getInstance("SHA256withECDSA");
        signature.initSign(pair.getPrivate());
        signature.update(content);
        byte[] signed = der(SEQUENCE, content, algorithm, der(BIT_STRING, new byte[1], signature.sign()));
        return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(signed));
    }

    private static byte[] time(Instant when) {
        boolean generalized = when.atOffset(ZoneOffset.UTC).getYear() >= GENERALIZED_FROM;
        String format = generalized ? "uuuuMMddHHmmss'Z'" : "uuMMddHHmmss'Z'";
        String text = DateTimeFormatter.ofPattern(format, Locale.ROOT).withZone(ZoneOffset.UTC).format(when);
        return der(generalized ? GENERALIZED_TIME : UTC_TIME, text.getBytes(StandardCharsets.US_ASCII));
    }

    /** A value of a type: its parts one after the other. */
    private static byte[] der(int type, byte[]... parts) {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            content.writeBytes(part);
        }
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        all.write(type);
        int length = content.size();
        if (length < SHORT_FORM) {
            all.write(length);
        } else {
            byte[] digits = BigInteger.valueOf(length).toByteArray();
            int zeros = digits[0] == 0 ? 1 : 0;
            all.write(SHORT_FORM | digits.length - zeros);
            all.write(digits, zeros, digits.length - zeros);
        }
        all.writeBytes(content.toByteArray());
        return all.toByteArray();
    }
}
