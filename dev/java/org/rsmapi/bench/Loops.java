package org.rsmapi.bench;

import clojure.java.api.Clojure;
import clojure.lang.Var;

/** The functions of rsmapi.bench.loops: what is measured from Clojure. */
public final class Loops {
    private static final String NAMESPACE = "rsmapi.bench.loops";

    private Loops() {
    }

    /** A function, as the interface that its primitive parameters give it. */
    static <F> F function(String name, Class<F> type) {
        Clojure.var("clojure.core", "require").invoke(Clojure.read(NAMESPACE));
        return type.cast(((Var) Clojure.var(NAMESPACE, name)).getRawRoot());
    }
}
