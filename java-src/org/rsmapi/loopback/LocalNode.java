package org.rsmapi.loopback;

/**
 * The node that this process plays on a controller.
 *
 * @param controller  the controller's canonical name
 * @param node        0 to 63
 * @param localOnly   whether segments can be reached from this node only
 * @param listed      whether the topology lists it
 * @param asOthers    whether its connects ask to be judged as those of other users
 */
record LocalNode(String controller, int node, boolean localOnly, boolean listed, boolean asOthers) {}
