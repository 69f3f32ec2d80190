(ns rsmapi.gen
  "For property tests: generators of the arguments of rsmapi.core. They need test.check among your
  project's dependencies.

    (require '[rsmapi.gen :as rsm-gen]
             '[clojure.test.check.generators :as gen])

    (gen/sample (rsm-gen/map-request {:size 65536 :perm :rdwr}) 3)
    ;=> ({:offset 0, :length 1} {:offset 4096, :length 4096, :perm :read} ...)

  Numbers     near
  Sizes       page-count size any-size
  In memory   offset any-offset length any-length window access
  Rights      perm any-perm acl-perm attr any-attr
  Ids         node any-node segment-id reserved-segment-id any-segment-id
  Lists       acl any-acl
  Requests    map-request any-map-request
  Segments    segment contents bytes
  Commands    command commands, for rsmapi.model
  Layouts     layout layout-value, for rsmapi.layout
  Worlds      world faults, for rsmapi.sim

  Generators whose name begins with any- also make what is wrong: the numbers next to the
  limits, extreme ones, wrong types. The others make what is right. All shrink to small
  right values, so that what is left of a failing case is the reason that it fails.

  What needs a place has it in one map, `place`, which can be the data of a segment:
    :size       of the segment or memory, bytes; default 65536
    :page-size  bytes; default 4096
    :perm       what the connection has; default :rdwr"
  (:refer-clojure :exclude [bytes])
  (:require [clojure.test.check.generators :as gen]
            [rsmapi.gen.command :as command]
            [rsmapi.gen.layout :as layouts]
            [rsmapi.gen.value :as value]
            [rsmapi.gen.world :as worlds]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

;; ----------------------------------------------------------------- numbers

(defn near
  "Integers of 64 bits, mostly one of the given ones or next to it (plus or minus 1); else 0,
  1, -1, any at all, or the largest and smallest there are. Shrinks to the first given."
  [& numbers]
  (value/near numbers))

;; ------------------------------------------------------------------- sizes

(def page-count
  "How many pages a segment has: 1 to 16, mostly few."
  value/page-count)

(defn size
  "Sizes of segments, bytes: whole pages, 1 to 16 of them. Shrinks to one page."
  ([] (size nil))
  ([place] (value/size place)))

(defn any-size
  "Sizes, valid and invalid: 0, negative ones, next to whole pages, near the largest and
  smallest integers, wrong types. There are none between 17 pages and 2^62: a valid size
  that large would have to be allocated."
  ([] (any-size nil))
  ([place] (value/any-size place)))

;; --------------------------------------------------------------- in memory

(defn offset
  "Offsets in a place at which a mapping can begin: multiples of the page size, before the
  end."
  ([] (offset nil))
  ([place] (value/offset place)))

(defn any-offset
  "Offsets, valid and invalid: near page borders and both ends of the place, negative ones,
  and those with which a sum overflows."
  ([] (any-offset nil))
  ([place] (value/any-offset place)))

(defn length
  "Lengths that fit in a place from an offset (bytes) on: 1 to the rest of it, mostly near
  page borders and the end. They need not be multiples of anything."
  ([place offset] (value/length place offset)))

(defn any-length
  "Lengths, valid and invalid: 0, negative ones, near the rest of the place, those with which
  a sum overflows."
  ([place offset] (value/any-length place offset)))

(defn window
  "Windows that can be mapped: {:offset n :length n}."
  ([] (window nil))
  ([place] (value/window place)))

(defn access
  "Offsets, bytes, for an access of n bytes to a place: mostly right, and often at either
  end; else one beyond, negative or extreme. With :aligned? true in place, those that are
  right are multiples of n."
  [place n]
  (value/access place n))

;; ------------------------------------------------------------------ rights

(def perm
  "The three permissions: :read, :write, :rdwr, also as 0400, 0200, 0600."
  value/perm)

(def any-perm
  "Permissions, :none (0), octal numbers that are none, and nonsense of other types."
  value/any-perm)

(def acl-perm
  "Permissions of an access list: three octal digits, each 0, 2, 4 or 6."
  value/acl-perm)

(def attr
  "Map attributes that do not need an address: :none and :reserved, nil, and their numbers."
  value/attr)

(def any-attr
  "Map attributes, :fixed and nonsense too."
  value/any-attr)

;; --------------------------------------------------------------------- ids

(def node
  "Nodes: 0 to 63."
  value/node)

(def any-node
  "Nodes, valid and invalid."
  value/any-node)

(def segment-id
  "Segment ids that an application can publish: 0x600000 to 0x7fffffff."
  value/segment-id)

(def reserved-segment-id
  "Segment ids of every reserved range, often at its ends: driver private, cluster
  transport, RSM libraries, DLPI, and those that are assigned."
  value/reserved-segment-id)

(def any-segment-id
  "Segment ids, also 0, reserved ones, those of HPC and OPS (which are accepted), negative
  ones, more than 32 bits, and wrong types."
  value/any-segment-id)

;; ------------------------------------------------------------------- lists

(defn acl
  "Access lists that are right: nil, [], or up to 8 entries {:node n :perm bits}, now and
  then 64.

  Options:
    :nodes  the nodes to choose from; default 0 to 63
    :max    the most entries; default 64. loopback takes 1"
  ([] (acl nil))
  ([opts] (value/acl opts)))

(defn any-acl
  "Access lists, valid and invalid: too long, with invalid nodes or permissions, entries
  that are no entries, not a list. Options as in acl."
  ([] (any-acl nil))
  ([opts] (value/any-acl opts)))

;; ---------------------------------------------------------------- requests

(defn map-request
  "Options of map! that are right for a fresh connection to a place: a window inside, a
  permission that the connection has. What can be left out is at times left out."
  ([] (map-request nil))
  ([place] (value/map-request place)))

(defn any-map-request
  "Options of map!, each of them right or wrong; now and then an option that there is not, or
  no map at all. :fixed comes with addresses that nothing can be mapped at."
  ([] (any-map-request nil))
  ([place] (value/any-map-request place)))

;; ---------------------------------------------------------------- segments

(def segment
  "Import segments as rsmapi.model/check-map takes them: size, permission, and whether they
  are connected, mapped, aborted. Shrinks to a fresh connection to one page."
  value/segment)

(defn bytes
  "Vectors of n bytes, -128 to 127."
  [n]
  (value/bytes n))

(def contents
  "What a segment may hold, as {:size n :data [{:offset n :bytes [b ...]} ...]}: a few
  stretches of bytes, at page borders and the ends, and zeros else. put-bytes! of each, in
  the order they are in, makes it."
  value/contents)

;; ---------------------------------------------------------------- commands

(defn command
  "Commands that make sense in a state of rsmapi.model: mostly on handles that are there,
  mostly right, and at times neither. None whose result is unspecified.

  Options as in commands, but :state and :max-length. nil if there is no command at all."
  ([state] (command state nil))
  ([state opts] (command/command state opts)))

(defn commands
  "Sequences of commands for rsmapi.model, vectors, each command made for the state that the
  ones before it lead to. Pools of controllers and ids are small, so that they collide.

  A sequence shrinks by losing commands and by simpler commands. What is left of it is still
  a sequence, for a handle whose command is gone is a null handle then; but it may come to a
  command whose result is unspecified.

  Options:
    :state        to begin with; default (rsmapi.model/init)
    :ops          the names of the commands to choose from; default rsmapi.model/commands,
                  without :exit and :umask
    :max-length   default 30
    :controllers  arguments of get-controller; default
                  [[\"loopback\"] [\"shm0\" {:node 1}] [\"shm0\" {:node 2}]]
    :segment-ids  default 0x600001 to 0x600003. Give others if another process on the machine
                  may use these
    :processes    the processes that make calls; default [:self]"
  ([] (commands nil))
  ([opts] (command/commands opts)))

(defn ^:no-doc one
  "For the REPL: one value of a generator, by size and seed."
  [generator size seed]
  (gen/generate generator size seed))

;; ----------------------------------------------------------------- layouts

(def layout
  "Forms of layouts for rsmapi.layout/layout: structs with numbers of every type, texts, arrays and
  structs in each other, byte orders, alignments, packed ones. Shrinks to few fields."
  layouts/layout)

(defn layout-value
  "Values for a layout, or its form: a map with a value for each field, as the deref of a view
  returns it."
  [layout]
  (layouts/value layout))

;; ------------------------------------------------------------------ worlds

(defn faults
  "Fault plans for rsmapi.sim/world: vectors of what goes wrong. Shrinks to fewer faults, and to those
  kinds and messages that come first in the options.

  Options:
    :nodes          to which it happens, a sequence; default 0 to 2
    :kinds          the kinds of faults, as in rsmapi.sim/world; default all
    :messages       the kinds of messages that it happens with; default all. Those that a program
                    sends, and no others, make more faults hit
    :most-messages  the largest :nth; default 20
    :span           the latest time, and the longest delay, in nanoseconds; default 3000000
    :most           the most faults; default 4
    :segments       what is revoked at a time, a sequence of [node segment-id]; default none: revocations
                    come with messages"
  ([] (faults nil))
  ([opts] (worlds/faults opts)))

(defn world
  "Options for rsmapi.sim/world: a seed, latencies, a fault plan. Shrinks to a world in which little
  happens. Options as in faults, and
    :memory   :mirrored or :shared; default: one of the two
    :timeout  of the worlds, in nanoseconds; default 10000000, which is more than the latencies"
  ([] (world nil))
  ([opts] (worlds/world opts)))
