package org.rsmapi.net;

import java.net.Socket;
import java.security.GeneralSecurityException;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedKeyManager;
import javax.net.ssl.X509ExtendedTrustManager;

/**
 * What TLS asks about keys: it shows ours, and accepts those of the nodes file and no others, whoever has signed them.
 *
 * <p>A context is for one connection. So no session is resumed, and a key that was taken out of the file is not accepted any more.
 */
final class PinnedKeys {
    private static final String ALIAS = "node";

    private PinnedKeys() {}

    /** Which key is accepted. */
    @FunctionalInterface
    interface Check {
        /**
         * Looks at the key of the other side.
         *
         * @throws CertificateException if it is not accepted
         */
        void check(X509Certificate certificate) throws CertificateException;
    }

    static SSLContext context(KeyFile own, Check check) throws GeneralSecurityException {
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(new KeyManager[] {new Own(own)}, new TrustManager[] {new Others(check)}, new SecureRandom());
        return context;
    }

    /** One key, for whatever is asked. */
    private static final class Own extends X509ExtendedKeyManager {
        private final KeyFile own;

        Own(KeyFile own) {
            this.own = own;
        }

        @Override
        public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) {
            return ALIAS;
        }

        @Override
        public String chooseServerAlias(String type, Principal[] issuers, Socket socket) {
            return type.equals(own.key().getAlgorithm()) ? ALIAS : null;
        }

        @Override
        public String chooseEngineClientAlias(String[] types, Principal[] issuers, SSLEngine engine) {
            return ALIAS;
        }

        @Override
        public String chooseEngineServerAlias(String type, Principal[] issuers, SSLEngine engine) {
            return chooseServerAlias(type, issuers, null);
        }

        @Override
        public String[] getClientAliases(String type, Principal[] issuers) {
            return new String[] {ALIAS};
        }

        @Override
        public String[] getServerAliases(String type, Principal[] issuers) {
            return new String[] {ALIAS};
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            return new X509Certificate[] {own.certificate()};
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            return own.key();
        }
    }

    /** An extended manager: the JVM's own checks of chains and names come in the place of a plain one's. */
    private static final class Others extends X509ExtendedTrustManager {
        private final Check check;

        Others(Check check) {
            this.check = check;
        }

        private void look(X509Certificate[] chain) throws CertificateException {
            check.check(chain[0]);
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            look(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            look(chain);
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            look(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            look(chain);
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) throws CertificateException {
            look(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
            look(chain);
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    /** What speaks TLS 1.3 and nothing older, with keys on both sides. */
    static SSLEngine engine(SSLContext context, boolean calls) {
        SSLEngine engine = context.createSSLEngine();
        engine.setUseClientMode(calls);
        engine.setEnabledProtocols(new String[] {"TLSv1.3"});
        if (!calls) {
            engine.setNeedClientAuth(true);
        }
        return engine;
    }
}
