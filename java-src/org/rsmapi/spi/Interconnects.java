package org.rsmapi.spi;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.function.Function;
import org.rsmapi.PublishedSegment;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.Topology;

/** Finds the interconnects: the library's own, and those of other providers on the class path. */
public final class Interconnects {
    /**
     * The library's own providers, relative to the library's package. They are found by their names, and so in a jar with relocated
     * packages too, whose service files may have the old names.
     */
    private static final List<String> OWN = List.of(".loopback.LoopbackProvider", ".sim.SimProvider", ".net.NetProvider");

    private Interconnects() {}

    /**
     * Opens a controller.
     *
     * @return null if no provider has it
     * @throws RsmException what the provider reports; CTLR_NOT_PRESENT if a provider cannot be loaded
     */
    public static Interconnect open(String type, int unit, int node) {
        String op = "get-controller";
        Interconnect found = null;
        for (String name : OWN) {
            found = own(name, op).open(type, unit, node);
            if (found != null) {
                return found;
            }
        }
        try {
            for (InterconnectProvider provider : ServiceLoader.load(InterconnectProvider.class)) {
                found = provider.open(type, unit, node);
                if (found != null) {
                    return found;
                }
            }
            return null;
        } catch (ServiceConfigurationError e) {
            throw cannotLoad(op, e).with("controller", type);
        }
    }

    /**
     * A controller of the library's own for what stays on this host ({@link InterconnectProvider#withinHost}).
     *
     * @throws RsmException what the provider reports; CTLR_NOT_PRESENT on systems where there is none
     */
    public static Interconnect withinHost(String controller, int node, boolean asOthers, String op) {
        for (String name : OWN) {
            Interconnect found = own(name, op).withinHost(controller, node, asOthers);
            if (found != null) {
                return found;
            }
        }
        throw RsmException.of(RsmError.CTLR_NOT_PRESENT, op).with("controller", controller)
            .hint("there is no interconnect within this host");
    }

    /**
     * The controllers that the topology lists.
     *
     * @throws RsmException what a provider reports; CTLR_NOT_PRESENT if a provider cannot be loaded
     */
    public static List<Topology.LocalController> controllers() {
        return ofAll("topology", InterconnectProvider::controllers);
    }

    /**
     * The segments that are published on this machine.
     *
     * @throws RsmException what a provider reports; CTLR_NOT_PRESENT if a provider cannot be loaded
     */
    public static List<PublishedSegment> published(boolean processes) {
        return ofAll("published", provider -> provider.published(processes));
    }

    private static <T> List<T> ofAll(String op, Function<InterconnectProvider, List<T>> what) {
        List<T> found = new ArrayList<>();
        Set<Class<?>> own = new HashSet<>();
        for (String name : OWN) {
            InterconnectProvider provider = own(name, op);
            own.add(provider.getClass());
            found.addAll(what.apply(provider));
        }
        try {
            for (InterconnectProvider provider : ServiceLoader.load(InterconnectProvider.class)) {
                if (!own.contains(provider.getClass())) {
                    found.addAll(what.apply(provider));
                }
            }
        } catch (ServiceConfigurationError e) {
            throw cannotLoad(op, e);
        }
        return List.copyOf(found);
    }

    private static InterconnectProvider own(String relative, String op) {
        String name = RsmException.class.getPackageName() + relative;
        try {
            return (InterconnectProvider) Class.forName(name).getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException | LinkageError e) {
            throw RsmException.of(RsmError.INSUFFICIENT_RESOURCES, op).with("resource", name).with("reason", e.toString()).causedBy(e)
                .hint("it cannot be loaded; does the process have free descriptors (ulimit -n), and is the class path complete?");
        }
    }

    private static RsmException cannotLoad(String op, ServiceConfigurationError e) {
        return RsmException.of(RsmError.CTLR_NOT_PRESENT, op).causedBy(e)
            .hint("a provider of other controllers on the class path cannot be loaded");
    }
}
