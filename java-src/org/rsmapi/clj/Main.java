package org.rsmapi.clj;

import clojure.java.api.Clojure;
import clojure.lang.RT;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The command line as the main class of a jar: {@code java -jar} on the jar with all dependencies, or {@code java -cp ...
 * org.rsmapi.clj.Main}. It runs the namespace {@code rsmapi.cli}.
 */
public final class Main {
    /** The exit code if a part of the program is missing. */
    private static final int INCOMPLETE = 70;

    private Main() {}

    /** Runs a command and ends the JVM; {@code --help} lists the commands. */
    public static void main(String[] args) {
        String missing = missing();
        if (missing != null) {
            System.err.println("rsm: " + missing + " is not on the class path");
            System.err.println("hint: run the jar with all dependencies, which `clojure -T:build uber` makes, or name every jar:"
                + " java -cp rsmapi.jar:clojure.jar:spec.alpha.jar:core.specs.alpha.jar:jna.jar:tools.cli.jar "
                + Main.class.getName());
            System.exit(INCOMPLETE);
        }
        Program.run(args);
    }

    /** The first library that is not there, or null. */
    private static String missing() {
        Map<String, String[]> libraries = new LinkedHashMap<>();
        libraries.put("Clojure (org.clojure/clojure)", new String[] {"clojure/lang/RT.class"});
        libraries.put("spec (org.clojure/spec.alpha)", new String[] {"clojure/spec/alpha.clj", "clojure/spec/alpha__init.class"});
        libraries.put("the specs of Clojure (org.clojure/core.specs.alpha)",
            new String[] {"clojure/core/specs/alpha.clj", "clojure/core/specs/alpha__init.class"});
        libraries.put("JNA (net.java.dev.jna/jna)", new String[] {"com/sun/jna/Native.class"});
        libraries.put("tools.cli (org.clojure/tools.cli)",
            new String[] {"clojure/tools/cli.cljc", "clojure/tools/cli__init.class"});
        for (Map.Entry<String, String[]> library : libraries.entrySet()) {
            if (!isThere(library.getValue())) {
                return library.getKey();
            }
        }
        return null;
    }

    private static boolean isThere(String... resources) {
        for (String resource : resources) {
            if (Main.class.getClassLoader().getResource(resource) != null) {
                return true;
            }
        }
        return false;
    }

    /** A class of its own, so that {@link Main} is linked without Clojure. */
    private static final class Program {
        private static final String NAMESPACE = "rsmapi.cli";

        static void run(String[] args) {
            Clojure.var("clojure.core", "require").invoke(Clojure.read(NAMESPACE));
            Clojure.var(NAMESPACE, "-main").applyTo(RT.seq(args));
        }
    }
}
