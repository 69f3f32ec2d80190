(ns rsmapi.inspect
  "Looking at segments, handles and memory, at the REPL.

    (require '[rsmapi.inspect :as inspect])

    (inspect/segments)     ; what is published on this machine
    (inspect/describe m)   ; a handle as data
    (inspect/hexdump m)    ; the bytes of a memory

  Contents: segments describe hexdump hexdump-lines

  Handles also support clojure.datafy/datafy and nav, from a controller to its segments, their
  mappings and back, so that inspectors (of CIDER, Portal, Morse) can walk there. Functions take
  options as those of rsmapi.core do, and fail as they do: see rsmapi.error. None of them
  connects to a segment, changes one, or waits for another process."
  (:require [clojure.datafy :refer [datafy]]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.data :as data]
            [rsmapi.impl.hexdump :as hexdump]
            [rsmapi.impl.layout :as layout])
  (:import (org.rsmapi Barrier Controller ImportSegment LocalMemoryHandle PollFd RsmError SegmentMemory)
           (org.rsmapi.clj Listener)
           (rsmapi.impl.layout Layout)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn segments
  "Returns what is published on this machine (in this network namespace), by node and id:

    [{:node 0 :segment-id 0x600001 :uid 1000 :pid 1234 :mine? false}
     {:controller \"loopback\" :node 0 :segment-id 0x600002 :uid 1000 :pid 2345 :mine? true}]

  :mine? says whether this process has published it. :controller, the name of its controller, is
  there for own segments. :uid is the exporter's user, if the kernel tells. :pid is the exporter,
  if this process may look into it, as root and the same user may.

  The list is the kernel's. No exporter is asked, so the list is the same if one is stopped or
  hostile. Any process can publish under any id that is free: check the uid.

  Options:
    :node  only segments of this node, 0 to 63
    :mine  true: only own segments; false: only those of other processes
    :pids  false: do not look for the exporters' pids, which takes up to a second on a machine
           with very many processes

  Errors: :rsm/bad-args-errors, :rsm/ctlr-not-present (native functions cannot be called),
  :rsm/insufficient-resources, :rsm/insufficient-mem."
  ([] (segments nil))
  ([opts]
   (let [op "segments"
         {:keys [node mine pids]} (args/options opts #{:node :mine :pids} op)
         node (when (some? node) (args/integer node nil RsmError/BAD_ARGS_ERRORS [op "node"]))]
     (args/flag mine op "mine")
     (filterv (fn [found]
                (and (or (nil? node) (= node (:node found)))
                     (or (nil? mine) (= mine (:mine? found)))))
              (data/published (or (nil? pids) (args/flag pids op "pids"))))))
  ([opts & more] (segments (args/trailing opts more))))

(defn- published-segment
  "The place of a map from segments, or nil if x is none."
  [x]
  (when (and (map? x) (every? keyword? (keys x)))
    (let [{:keys [node segment-id]} x]
      (when (and (int? node) (int? segment-id))
        [node segment-id]))))

(defn- handle? [x]
  (or (instance? Controller x) (instance? SegmentMemory x) (instance? ImportSegment x)
      (instance? LocalMemoryHandle x) (instance? Barrier x) (instance? PollFd x)
      (instance? Listener x)))

(defn describe
  "Returns what is known of a handle, open or closed, as data: what datafy returns, with :handle, its
  one line of text. Of a controller it returns what is published, too, as segments does, under
  :published.

  Of a layout it returns what rsmapi.layout/describe does. Of a map from segments, it returns the
  map of today, with :type :published-segment, :published? (whether it still is) and :id, the
  segment id in hexadecimal digits. Prints nothing.

  Errors: :rsm/bad-args-errors (nothing of these)."
  [x]
  (let [place (published-segment x)]
    (cond
      (handle? x)
      (let [found (datafy x)]
        (cond-> (assoc (if (map? found) found {:type :listener}) :handle (str x))
          (instance? Controller x) (assoc :published (data/published true))))

      place
      (let [[_ id] place
            now (first (filter #(= place [(:node %) (:segment-id %)]) (data/published true)))]
        (assoc (or now x)
               :type :published-segment
               :published? (some? now)
               :id (str "0x" (hexdump/position id))))

      (instance? Layout x) (layout/describe x)

      :else
      (throw (args/failure RsmError/BAD_ARGS_ERRORS "describe" :argument "x"
                           :hint "give a handle of this library, a layout, or a map from segments")))))

(defn hexdump-lines
  "Returns bytes of a memory (a mapping, an export segment or local memory) as lines:

    [{:offset 0 :bytes [104 105 0 0 ...] :hex \"68 69 00 00 ...\" :text \"hi..............\"}
     {:offset 16 :repeats 14}
     {:offset 240 :bytes ...}
     {:offset 256 :more 65280}]

  :bytes are from 0 to 255; :text has a full stop for what is not printable ASCII. :repeats is how
  many lines from there on are like the line before. :more, at the end and without the option
  :length only, is how many bytes of the memory are left.

  Options:
    :offset  where to begin, in bytes; default 0
    :length  how many bytes; default: the rest of the memory, at most 256
    :width   bytes in a line, 1 to 1024; default 16
    :group   bytes that are written together, 1 to the width; default 1
    :all     true: all lines, none collapsed
    :layout  a layout of rsmapi.layout, or the form of any type, such as [:array 100 quote-layout].
             With true, the layout with which the segment is published. Lines have :fields then,
             the names of the fields that lie in them, such as \"levels[0].px\". Lines with fields
             are not collapsed
    :at      where the layout begins in the memory, in bytes; default 0

  The bytes are read in pieces of about 4096. If another process writes to them meanwhile, the
  lines can show some from before and some from after.

  Errors: :rsm/bad-seg-hndl, :rsm/bad-args-errors, :rsm/bad-offset, :rsm/bad-length; those of
  get-bytes, such as :rsm/conn-aborted if the exporter revokes the segment meanwhile;
  :rsm/interrupted."
  ([memory] (hexdump-lines memory nil))
  ([memory opts] (vec (hexdump/lines (hexdump/request memory opts "hexdump"))))
  ([memory opts & more] (hexdump-lines memory (args/trailing opts more))))

(defn hexdump
  "Prints bytes of a memory to *out*, in the manner of hexdump(1), and returns nil:

    00000000  68 69 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |hi..............|
    00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
    *
    00000100  65280 more bytes: (hexdump memory :offset 256)

  A star stands for lines that are like the line before. Names of fields are behind the text. The last line has the offset of the end.
  Options and errors are those of hexdump-lines. What has been printed before an error stays."
  ([memory] (hexdump memory nil))
  ([memory opts]
   (let [request (hexdump/request memory opts "hexdump")]
     (run! #(println (hexdump/text % request)) (hexdump/lines request))
     (when (zero? (long (:rest request)))
       (println (hexdump/position (:to request))))))
  ([memory opts & more] (hexdump memory (args/trailing opts more))))
