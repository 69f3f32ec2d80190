(ns rsmapi.doc-test
  "The documentation against the code: docstrings, doc/errors.md, links, and the examples of
  README.md and doc/, which are run.

  An example that is run has a comment in the line before it:

    <!-- transcript -->  a REPL session: forms after the prompt `user=> `, and what was printed
    <!-- runs -->        forms, one after the other, in one namespace for each file; a comment
                         `;=> ` behind a form says what it gives, `...` in it stands for anything
    <!-- runs ... -->    the same, in a child JVM with what they need: rsmapi.libraries-test
    <!-- terminals -->   two columns, a process each, which are two namespaces here. `;=> ` behind a
                         form as above; a comment after a form that fails is what it says
    <!-- rsm -->         command lines of rsmapi.cli after `$ rsm `, and what they print, `...` in it for
                         anything; one with ` &` at its end goes on. `$ echo 'text' > file` is made here
    <!-- compiles -->    a Java class

  Segment ids are exchanged for free ones before the forms run, and back in the results."
  (:require [clojure.java.io :as io]
            [clojure.main]
            [clojure.set :as set]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.cli :as cli]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.gen]
            [rsmapi.sim]
            [rsmapi.inspect]
            [rsmapi.layout]
            [rsmapi.model]
            [rsmapi.test.child :as child]
            [rsmapi.test.runner :as runner]
            [rsmapi.tool])
  (:import (clojure.lang LineNumberingPushbackReader)
           (java.io File PushbackReader StringReader StringWriter)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (javax.tools ToolProvider)
           (org.rsmapi ExportSegment RsmException)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------------------ files

(defn- root ^File [] (runner/root))

(defn- text [path] (slurp (io/file (root) path)))

(defn- documents []
  (cons "README.md"
        (->> (.listFiles (io/file (root) "doc"))
             (map #(str "doc/" (.getName ^File %)))
             (filter #(str/ends-with? % ".md"))
             sort)))

(defn- blocks
  "The code blocks of a document that are marked with `<!-- kind -->`."
  [document kind]
  (map second (re-seq (re-pattern (str "(?s)<!-- " kind " -->\n+```\\w*\n(.*?)```"))
                      (text document))))

;; -------------------------------------------------------------- docstrings

(defn- public [n]
  (->> (ns-publics n)
       (remove (comp :no-doc meta val))
       (into (sorted-map))))

(defn- contents
  "The names in the table of contents of a namespace's docstring, which is what comes after its
  example."
  [n]
  (set (re-seq #"[a-z][a-z0-9-]*[!?]?" (:doc (meta (find-ns n))))))

(defn- in-contents
  "The name under which the table of contents has a function: the access functions are listed
  by their example, for long."
  [fn-name]
  (-> (name fn-name)
      (str/replace #"-(volatile|acquire|release)(?=!|$)" "")
      (str/replace #"^(get|put)-(byte|short|char|int|long|float|double)(?=!|$)" "$1-long")
      (str/replace #"^(get|put)-(short|char|int|long|float|double)s(?=!|$)" "$1-bytes")
      (str/replace #"^(compare-and-set|get-and-add)-int" "$1-long")))

(deftest docstrings
  (doseq [n ['rsmapi.core 'rsmapi.error 'rsmapi.inspect 'rsmapi.layout 'rsmapi.model 'rsmapi.gen 'rsmapi.sim 'rsmapi.tool]
          [fn-name v] (public n)]
    (is (not (str/blank? (:doc (meta v)))) (str n "/" fn-name " has no docstring"))
    (is (contains? (contents n) (if (= 'rsmapi.core n) (in-contents fn-name) (name fn-name)))
        (str n "/" fn-name " is not in the table of contents"))))

(def ^:private codes (set (map :rsm/error error/table)))

(defn- errors-in
  "The errors that a text names, in its order."
  [s]
  (->> (re-seq #":(rsm)/([a-z-]+)" s)
       (map (fn [[_ n k]] (keyword n k)))
       (filter codes)))

(defn- announcing
  "The function whose docstring announces the errors of this one: itself, or the one that its
  docstring says to see."
  [v]
  (let [doc (or (:doc (meta v)) "")]
    (if (re-find #"Errors(:|, in order:)" doc)
      v
      (when-let [other (second (re-find #"\bsee ([a-z][a-z0-9-]*[!?]?)[.;]" doc))]
        (recur (get (public 'rsmapi.core) (symbol other)))))))

(defn- errors-of
  "The errors that a docstring announces, in its order; what is in parentheses is explanation."
  [v]
  (-> (:doc (meta v))
      (str/split #"Errors(?=:|, in order:)" 2)
      second
      (str/replace #"\([^)]*\)" "")
      errors-in))

(defn- ordered? [v] (str/includes? (:doc (meta v)) "Errors, in order:"))

;; ----------------------------------------------------------- doc/errors.md

(defn table-rows
  "The rows of doc/errors.md's table, as they have to be."
  []
  (for [{:rsm/keys [error code name meaning retriable?] :cognitect.anomalies/keys [category]} error/table]
    (format "| `%s` | `%s` | %d | %s | %s | %s |"
            name error code (clojure.core/name category) meaning (if retriable? "yes" "no"))))

(deftest the-table-of-errors
  (is (= (table-rows)
         (filter #(str/starts-with? % "| `RSMERR_") (str/split-lines (text "doc/errors.md"))))))

(defn- sections
  "The text of doc/errors.md about each function, under the heading that names it:
  {\"map!\" \"1. `:rsm/bad-seg-hndl`: ...\"}."
  []
  (second
   (reduce (fn [[current all] line]
             (if-let [heading (second (re-matches #"#+ (.*)" line))]
               (let [names (map second (re-seq #"`([^`]+)`" heading))]
                 [names (into all (map #(vector % "")) names)])
               [current (reduce #(update %1 %2 str line "\n") all current)]))
           [nil {}]
           (str/split-lines (text "doc/errors.md")))))

(defn- documented-errors
  "What doc/errors.md says of each function: {\"map!\" [:rsm/bad-seg-hndl ...]}: what the items
  of its numbered list begin with."
  []
  (update-vals (sections)
               #(mapv (fn [[_ k]] (keyword "rsm" k))
                      (re-seq #"(?m)^\d+\. `:rsm/([a-z-]+)`" %))))

(deftest the-errors-of-each-call
  (let [documented (documented-errors)
        section (sections)]
    (doseq [[fn-name v] (public 'rsmapi.core)
            :let [fn-name (name fn-name)
                  source (announcing v)]
            :when source]
      (if (ordered? source)
        (is (= (errors-of source) (documented fn-name)) fn-name)
        (is (= (set (errors-of source)) (set (documented fn-name))) fn-name))
      (is (= #{} (set/difference (set (errors-in (:doc (meta v))))
                                 (set (errors-in (get section fn-name "")))))
          (str fn-name ": the docstring knows an error that doc/errors.md does not")))
    (is (= #{} (set/difference (set (keys documented))
                               (set (map name (keys (public 'rsmapi.core))))))
        "a heading names what there is not")
    (is (= #{} (set/difference (set (mapcat val documented)) codes))
        "a list names an error that there is not")))

(deftest every-call-is-there
  (let [named (sections)
        asking (second (re-find #"(?s)### Calls that only ask\n(.*?)\n#" (text "doc/errors.md")))]
    (doseq [[fn-name v] (public 'rsmapi.core)
            :when (not (:macro (meta v)))]
      (is (or (contains? named (name fn-name))
              (str/includes? asking (str "`" fn-name "`")))
          (str "doc/errors.md says nothing of " fn-name)))))

;; The order of checks, tried: each call below has a fault, and as many of the later ones as
;; can be had at once.

(defmacro ^:private refusal [call]
  `(let [value# (error/catching ~call)]
     (when (map? value#) (:rsm/error value#))))

(defn- in-order?
  "Whether the errors appear in this order in what is documented."
  [found documented]
  (empty? (reduce (fn [left error]
                    (if (= error (first left)) (rest left) left))
                  found documented)))

(defn- told
  "Checks what calls gave against the documented order."
  [fn-name & found]
  (is (in-order? found (get (documented-errors) fn-name)) (str fn-name " " (vec found))))

(defn- interrupted
  "Calls f on a thread whose interrupt status is set. Not to be used around `is`: the counters
  of clojure.test clear the status."
  [f]
  (.interrupt (Thread/currentThread))
  (try (f) (finally (Thread/interrupted))))

(defn- released []
  (doto (rsm/get-controller "shm31" {:node 63}) rsm/release-controller!))

(deftest the-order-of-checks-on-export
  (let [page (long (rsm/page-size))
        heap (java.nio.ByteBuffer/allocate 1)]
    (rsm/with-controller [c "shm31" {:node 62}]
      (rsm/with-local-memory [own (* 4 page)]
        (let [im-of  #(rsm/connect! c {:segment-id (rsm/segment-id %)})
              fixed  (rsm/create! c {:size (* 4 page)})
              ex     (rsm/export! c {:size (* 4 page) :allow-rebind true})
              gone   (doto (rsm/create! c {:size page :allow-rebind true}) rsm/close!)
              huge   (ExportSegment/hugePageSize)
              im     (im-of ex)
              window (rsm/map! im {:over own :perm :read})
              at     (rsm/address own)]
          (try
            (told "create!"
                  (refusal (rsm/create! nil {:address 0 :size 0}))
                  (refusal (rsm/create! (released) {:address 0 :size 0}))
                  (refusal (rsm/create! c {:address 0 :size 0}))
                  (refusal (rsm/create! c {:address 1 :size 0}))
                  (refusal (rsm/create! c {:address 1 :size Long/MAX_VALUE}))
                  (refusal (rsm/create! c {:size (- Long/MAX_VALUE (dec page)) :huge-pages true}))
                  (if (pos? huge)
                    (refusal (rsm/create! c {:address page :size page :huge-pages true}))
                    :rsm/bad-mem-alignment)
                  (refusal (rsm/create! c {:address at :size (* 4 page)})))
            (told "rebind!"
                  (refusal (rsm/rebind! gone nil))
                  (refusal (rsm/rebind! fixed {:buffer heap}))
                  (refusal (rsm/rebind! fixed {:address 1 :length 0}))
                  (refusal (rsm/rebind! ex {:address 1 :length 0}))
                  (refusal (rsm/rebind! ex {:address 1})))
            (told "rebind!"
                  (refusal (rsm/rebind! ex {:memory own}))) ; which is in use, and read-only there
            (rsm/get-pollfd! fixed)
            (told "destroy!"
                  (refusal (rsm/destroy! gone))
                  (refusal (rsm/destroy! fixed)))
            (told "segment-id-range"
                  (refusal (rsm/segment-id-range nil {:file "/"}))
                  (refusal (rsm/segment-id-range "x" {:file "/"})))
            (is (some? window))
            (finally (run! rsm/close! [im ex fixed]))))))))

(deftest the-order-of-checks-in-transfer
  (let [page (long (rsm/page-size))
        far  (* 1000 page)]
    (rsm/with-controller [c "loopback"]
      (rsm/with-exported-segment [ex c {:size page}]
        (let [connect #(rsm/connect! c (merge {:segment-id (rsm/segment-id ex)} %))
              gone    (doto (connect {}) rsm/disconnect!)
              reader  (connect {:perm :read})
              im      (connect {})
              bare    (connect {:barrier false})
              freed   (doto (rsm/allocate! 8) rsm/free!)
              fresh   (connect {})
              nothing (connect {:perm :none})
              window  (rsm/map! (connect {:perm :read}))
              held    (doto (connect {}) rsm/map! rsm/get-pollfd!)
              handle  (doto (rsm/create-localmemory-handle! c ex) rsm/close!)
              piece   #(hash-map :segment %1 :iovec [%2])]
          (told "put16!"
                (refusal (rsm/put16! nil nil "none"))
                (refusal (rsm/put16! im 1 nil))
                (refusal (rsm/put16! reader (inc far) (short-array 1) 5 5))
                (refusal (rsm/put16! reader far (short-array 1) 5 5))
                (refusal (rsm/put16! bare far (short-array 1) 5 5))
                (refusal (rsm/put16! bare 0 (short-array 1) 5 5))
                (refusal (rsm/put16! bare 0 ex 0 1)))
          (is (= :rsm/bad-seg-hndl (refusal (rsm/put16! gone 1 nil))))
          (is (= :rsm/bad-addr (refusal (rsm/get! im 0 freed))) "the memory's own state comes last")
          (is (= :rsm/bad-offset (refusal (rsm/get! im far freed))))
          (testing "pieces"
            (told "putv!"
                  (refusal (rsm/putv! nil))
                  (refusal (rsm/putv! {:segment gone :iovec []}))
                  (refusal (rsm/putv! {:segment reader :iovec (repeat 17 {:local handle :length 1})}))
                  (refusal (rsm/putv! (piece reader {:local handle :remote-offset -1 :length 1}))))
            (is (= [:rsm/bad-addr :rsm/perm-denied :rsm/bad-offset :rsm/bad-length]
                   [(refusal (rsm/putv! (piece reader {:local nil :remote-offset -1 :length 5})))
                    (refusal (rsm/putv! (piece reader {:local (byte-array 1) :remote-offset -1 :length 5})))
                    (refusal (rsm/putv! (piece bare {:local (byte-array 1) :remote-offset -1 :length 5})))
                    (refusal (rsm/putv! (piece bare {:local (byte-array 1) :length 5})))])
                "as put!"))
          (told "create-localmemory-handle!"
                (refusal (rsm/create-localmemory-handle! nil nil))
                (refusal (rsm/create-localmemory-handle! (released) ex {:offset 1 :length 0}))
                (refusal (rsm/create-localmemory-handle! (released) ex {:length 0}))
                (refusal (rsm/create-localmemory-handle! c ex {:length 0})))
          (told "free-localmemory-handle!"
                (refusal (rsm/free-localmemory-handle! nil nil))
                (refusal (rsm/free-localmemory-handle! (released) handle))
                (refusal (rsm/free-localmemory-handle! c handle)))
          (told "disconnect!"
                (refusal (rsm/disconnect! held))
                (refusal (do (rsm/unmap! held) (rsm/put! held 0 (byte-array 1)) (rsm/disconnect! held))))
          (is (not (rsm/mapped? held)) "what put! had mapped is gone nevertheless")
          (testing "after an abort"
            (rsm/unpublish! ex)
            (told "put16!"
                  (refusal (rsm/put16! fresh (inc far) (short-array 1)))
                  (refusal (rsm/put16! fresh far (short-array 1))))
            (is (= :rsm/conn-aborted (refusal (rsm/put! nothing 0 (byte-array 1)))))
            (told "put!"
                  (refusal (rsm/put! window far (byte-array 1)))
                  (refusal (rsm/put! bare far (byte-array 1)))
                  (refusal (rsm/put! bare 0 (byte-array 1)))
                  (refusal (rsm/put! im 0 (byte-array 1))))
            (rsm/set-barrier-mode! im :explicit)
            (is (nil? (refusal (rsm/put! im 0 (byte-array 1))))))
          (run! rsm/close! [reader im bare fresh nothing window held]))))))

(deftest the-order-of-checks-in-waiting
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (rsm/page-size)}]
      (let [connect #(rsm/connect! c {:segment-id (rsm/segment-id ex)})
            gone    (doto (connect) rsm/disconnect!)
            im      (connect)
            other   (connect)
            [open used left] (repeatedly 3 #(rsm/init-barrier! im))
            lost    (doto (rsm/init-barrier! other) rsm/open-barrier!)]
        (rsm/open-barrier! open)
        (rsm/destroy-barrier! used)
        (rsm/close! other)
        (told "set-barrier-mode!"
              (refusal (rsm/set-barrier-mode! gone 7))
              (refusal (rsm/set-barrier-mode! im 7)))
        (told "on-signal!"
              (refusal (rsm/on-signal! gone 7))
              (refusal (rsm/on-signal! gone identity)))
        (rsm/signal-post! ex)
        (rsm/unpublish! ex)
        (doseq [[fn-name f barriers] [["open-barrier!" rsm/open-barrier! [nil used lost]]
                                      ["order-barrier!" rsm/order-barrier! [nil used lost left]]
                                      ["close-barrier!" rsm/close-barrier! [nil used lost left open]]
                                      ["destroy-barrier!" rsm/destroy-barrier! [nil used]]]]
          (apply told fn-name (mapv #(refusal (f %)) barriers)))
        (told "signal-post!" (refusal (rsm/signal-post! gone)) (refusal (rsm/signal-post! im)))
        (is (nil? (refusal (rsm/signal-wait! im {:timeout-ms 0}))) "what came before the end")
        (apply told "signal-wait!"
               (interrupted #(vector (refusal (rsm/signal-wait! gone {:timeout-ms 0}))
                                     (refusal (rsm/signal-wait! im {:timeout-ms 0}))
                                     (refusal (rsm/signal-wait! ex {:timeout-ms 0}))
                                     (refusal (rsm/signal-wait! ex)))))
        (apply told "signal-wait-pollfd!"
               (interrupted #(vector (refusal (rsm/signal-wait-pollfd! [nil]))
                                     (refusal (rsm/signal-wait-pollfd! [] {:timeout-ms 0}))
                                     (refusal (rsm/signal-wait-pollfd! [])))))
        (rsm/close! im)))))

(deftest the-order-of-checks-in-snapshots
  (rsm/with-local-memory [m 64]
    (rsm/put-long! m 0 1)
    (let [short {:timeout-ms 1}]
      (told "read-snapshot"
            (refusal (rsm/read-snapshot m {:offset 0 :timeout-ms 1}))
            (refusal (rsm/read-snapshot m {:timeout-ms 1})))
      (told "write-snapshot!"
            (refusal (rsm/write-snapshot! m (byte-array 8) {:offset 0 :timeout-ms 1}))
            (refusal (rsm/write-snapshot! m (byte-array 8) short)))
      (is (= :rsm/bad-offset (refusal (rsm/write-snapshot! m (byte-array 64) short)))
          "before the version is touched"))))

(deftest the-order-of-checks-in-access
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (rsm/page-size)}]
      (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
            m (rsm/map! im {:perm :read})]
        (testing "the memory, then the other arguments from left to right"
          (is (= :rsm/bad-seg-hndl (refusal (rsm/put-long! nil nil nil))))
          (is (= :rsm/bad-offset (refusal (rsm/put-long! m nil nil))))
          (is (= :rsm/bad-args-errors (refusal (rsm/put-long! m 0 nil))))
          (is (= :rsm/bad-seg-hndl (refusal (rsm/put-byte! nil 0 1000))))
          (is (= :rsm/bad-seg-hndl (refusal (rsm/get-bytes nil nil nil))))
          (is (= :rsm/bad-offset (refusal (rsm/get-bytes m nil nil))))
          (is (= :rsm/bad-args-errors (refusal (rsm/put-byte! m -1 1000))))
          (is (= :rsm/bad-args-errors (refusal (rsm/get-longs m -1 -1 :middle)))))
        (testing "arrays and lengths before state, permission and range"
          (is (= :rsm/bad-length (refusal (rsm/put-longs! m -1 (long-array 2) 1 5))))
          (is (= :rsm/bad-length (refusal (rsm/fill! m -1 -1 0))))
          (is (= :rsm/bad-addr (refusal (rsm/get-buffer! m -1 (.asReadOnlyBuffer (java.nio.ByteBuffer/allocate 1)))))))
        (testing "permission, range, alignment"
          (is (= :rsm/perm-denied (refusal (rsm/put-long-volatile! m -1 0))))
          (is (= :rsm/bad-offset (refusal (rsm/get-long-volatile m (dec (long (rsm/page-size)))))))
          (is (= :rsm/bad-mem-alignment (refusal (rsm/get-long-volatile m 4))))
          (is (= :rsm/perm-denied (refusal (rsm/compare-and-set-long! m -1 0 0))))
          (is (= :rsm/perm-denied (refusal (rsm/compare-and-set-long! m 4 0 0)))))
        (testing "permission and range before an abort, an unmapping before all"
          (rsm/unpublish! ex)
          (is (= :rsm/perm-denied (refusal (rsm/put-long! m 0 0))))
          (is (= :rsm/bad-offset (refusal (rsm/get-long m -1))))
          (is (= :rsm/conn-aborted (refusal (rsm/get-long-volatile m 4))))
          (rsm/close! im)
          (is (= :rsm/seg-not-mapped (refusal (rsm/put-long! m -1 0)))))))))

;; ------------------------------------------------------------------- links

(defn- anchors
  "The anchors that a document's headings get on GitHub."
  [path]
  (->> (re-seq #"(?m)^#+ (.*)$" (text path))
       (map (fn [[_ heading]]
              (-> (str/lower-case heading)
                  (str/replace #"[^\p{L}\p{N} _-]" "")
                  (str/replace " " "-"))))
       set))

(defn- broken
  "What is wrong with a link of a document, or nil."
  [document link]
  (when-not (re-find #"^(https?:|mailto:)" link)
    (let [[path anchor] (str/split link #"#" 2)
          target (if (str/blank? path)
                   (io/file (root) document)
                   (io/file (.getParentFile (io/file (root) document)) path))]
      (cond
        (not (.exists target)) (str "no " path)
        (and anchor (not ((anchors (str (.relativize (.toPath (root)) (.toPath (.getCanonicalFile target))))) anchor)))
        (str "no heading #" anchor)))))

(deftest links
  (doseq [document (documents)
          [_ link] (re-seq #"\]\(([^)\s]+)\)" (text document))]
    (is (nil? (broken document link)) (str document ": " link))))

;; ---------------------------------------------------------------- examples

(defn- free-ids
  "Segment ids for those that a text has, taken at random so that two runs do not meet."
  [s]
  (into {} (map (fn [id] [(Long/decode id) (+ 0x700000 (long (rand-int 0x70000000)))]))
        (re-seq #"\b0x6[0-9a-f]{5}\b" s)))

(defn- exchange
  "The text with ids replaced, in each way in which they are written."
  [s ids]
  (reduce (fn [s [from to]]
            (-> s
                (str/replace (format "0x%08x" from) (format "0x%08x" to))
                (str/replace (format "0x%x" from) (format "0x%x" to))
                (str/replace (str from) (str to))))
          s ids))

(defn- same-lines
  "Without what depends on where a line is in a source file or on how many forms were evaluated before, and without
  trailing space."
  [s]
  (-> (str/replace s #"\((\w+\.java):\d+\)" "($1)")
      (str/replace #"user/eval\d+ \(REPL:\d+\)" "user/eval (REPL)")
      (str/replace #"(?m)\s+$" "")
      str/trim))

(defn- documented-page?
  "Whether the examples' offsets are multiples of this machine's page size."
  []
  (or (= 4096 (rsm/page-size))
      (runner/skip! "examples" "they are for pages of 4096 bytes")))

(defn- session
  "A transcript as [[forms printed] ...]."
  [block]
  (for [turn (rest (str/split block #"(?m)^user=> "))
        :let [reader (LineNumberingPushbackReader. (StringReader. turn))]]
    (do (read reader)
        (let [printed (slurp reader)]
          [(subs turn 0 (- (count turn) (count printed))) printed]))))

(defn- run-session
  "What a REPL prints for each of the forms. What they define is gone afterwards."
  [forms]
  (let [out (StringWriter.)
        prompt "\u0000"
        user (create-ns 'user)
        before (set (keys (ns-interns user)))]
    (try
      (binding [*out* out
                *err* out
                *in* (LineNumberingPushbackReader. (StringReader. (str/join "\n" forms)))
                *ns* user]
        (clojure.main/repl :init #(apply require clojure.main/repl-requires)
                           :need-prompt (constantly true)
                           :prompt #(print prompt)
                           :flush #(flush)))
      (finally
        (run! #(ns-unmap user %) (remove before (keys (ns-interns user))))))
    (rest (str/split (str out) (re-pattern prompt) -1))))

(deftest transcripts
  (when (documented-page?)
    (let [sessions (mapcat #(map (partial vector %) (blocks % "transcript")) (documents))]
      (is (seq sessions))
      (doseq [[document block] sessions
              :let [ids (free-ids block)
                    turns (session block)
                    printed (run-session (map #(exchange (first %) ids) turns))]]
        (is (<= (count turns) (count printed)))
        (doseq [[[form expected] actual] (map vector turns printed)]
          (is (= (same-lines expected) (same-lines (exchange actual (set/map-invert ids))))
              (str document ": " form)))))))

(defn- read-all [s]
  (let [reader (PushbackReader. (StringReader. s))]
    (doall (take-while (complement #{::end}) (repeatedly #(read {:eof ::end} reader))))))

(defn- steps
  "A block as [[forms expected] ...]; expected is nil where nothing is said."
  [block]
  (loop [lines (str/split-lines block) forms [] found []]
    (let [[line & more] lines]
      (cond
        (nil? line) (conj found [(str/join "\n" forms) nil])
        (str/starts-with? line ";=> ")
        (let [[continued others] (split-with #(str/starts-with? % ";   ") more)]
          (recur others [] (conj found [(str/join "\n" forms)
                                        (str/join "\n" (map #(subs % 4) (cons line continued)))])))
        :else (recur more (conj forms line) found)))))

(defn- matches?
  "Whether what a value prints is as expected, white space and the order in maps aside."
  [expected printed]
  (let [squeeze #(str/replace (str/trim %) #"\s+" " ")]
    (or (re-matches (->> (str/split (squeeze expected) #"\.\.\." -1)
                         (map #(java.util.regex.Pattern/quote %))
                         (str/join ".*")
                         re-pattern)
                    (squeeze printed))
        (and (not (str/includes? expected "..."))
             (try (= (read-string printed) (read-string expected))
                  (catch RuntimeException _ false))))))

(defn outcomes
  "Runs a document's examples of a kind. What each that says what it gives has given:
  {:forms text, :expected text, :printed text, :right? boolean}."
  [document kind]
  (let [found (blocks document kind)
        ids (free-ids (str/join found))
        here (create-ns (gensym "rsmapi.example"))]
    (try
      (binding [*ns* here
                *data-readers* *data-readers*]
        (refer-clojure)
        (doall
         (for [[forms expected] (mapcat steps found)
               :let [value (reduce (fn [_ form] (eval form)) nil (read-all (exchange forms ids)))]
               :when expected
               :let [printed (exchange (pr-str value) (set/map-invert ids))]]
           {:forms forms, :expected expected, :printed printed, :right? (boolean (matches? expected printed))})))
      (finally (remove-ns (ns-name here))))))

(deftest examples
  (when (documented-page?)
    (doseq [document (documents)
            {:keys [forms printed right?]} (outcomes document "runs")]
      (is right? (str document ": " forms "\ngives " printed)))))

(defn- complete?
  "Whether a text is one form or more, and not a part of one."
  [s]
  (try (boolean (seq (read-all s))) (catch RuntimeException _ false)))

(defn- terminals
  "A block of two columns as [[terminal form expected] ...], in the order of the lines. expected is
  what comes behind a form as a comment, or in a comment of its own after it."
  [block]
  (let [lines  (str/split-lines block)
        column (str/index-of (first lines) ";; terminal 2")
        cells  (for [line (rest lines), terminal [0 1]
                     :let [cell (if (= 0 terminal)
                                  (subs line 0 (min (long column) (count line)))
                                  (when (< (long column) (count line)) (subs line column)))]
                     :when (not (str/blank? cell))]
                 [terminal cell])]
    (loop [cells cells, begun ["" ""], found []]
      (if-let [[[terminal cell] & more] (seq cells)]
        (let [[code comment] (str/split cell #"\s*;=> |^;; ", 2)
              form (str (begun terminal) "\n" code)]
          (cond
            (str/blank? code) (recur more begun (conj (pop found) (assoc (peek found) 2 (str/trim comment))))
            (complete? form)  (recur more (assoc begun terminal "") (conj found [terminal form (some-> comment str/trim)]))
            :else             (recur more (assoc begun terminal form) found)))
        found))))

(deftest two-terminals
  (when (documented-page?)
    (let [found (mapcat #(map (partial vector %) (blocks % "terminals")) (documents))]
      (is (seq found))
      (doseq [[document block] found
              :let [ids    (free-ids block)
                    places (repeatedly 2 #(create-ns (gensym "rsmapi.terminal")))
                    steps  (terminals (exchange block ids))]]
        (is (< 10 (count steps)))
        (try
          (doseq [here places] (binding [*ns* here] (refer-clojure)))
          (doseq [[terminal form expected] steps
                  :let [printed (binding [*ns* (nth places terminal)]
                                  (try (pr-str (reduce (fn [_ form] (eval form)) nil (read-all form)))
                                       (catch RsmException e (ex-message e))))]
                  :when expected]
            (is (str/starts-with? printed expected) (str document ": " form "\ngives " printed)))
          (finally
            (doseq [here places, sym '[im ex c]]
              (some-> (ns-resolve here sym) deref rsm/close!))
            (run! #(remove-ns (ns-name %)) places)))))))

;; Command lines

(defn- command-lines
  "A block as [[command-line expected] ...]."
  [block]
  (for [turn (rest (str/split block #"(?m)^\$ "))
        :let [[line expected] (str/split turn #"\n" 2)]]
    [line (str expected)]))

(defn- words [line]
  (map #(str/replace % "'" "") (re-seq #"'[^']*'|\S+" line)))

(defn- run-rsm
  "What a command line prints."
  [arguments]
  (let [out (StringWriter.)]
    (binding [*out* out, *err* out]
      (cli/run arguments))
    (str out)))

(defn- start-rsm
  "Runs a command line that goes on. Returns its thread, and what it has printed when it has printed a line."
  [arguments]
  (let [out    (StringWriter.)
        thread (doto (Thread. ^Runnable (fn [] (binding [*out* out, *err* out] (cli/run arguments)))) .start)]
    (is (child/eventually (str/includes? (str out) "\n")))
    [thread (str out)]))

(deftest command-line-examples
  (when (documented-page?)
    (doseq [document (documents)
            block (blocks document "rsm")
            :let [ids     (free-ids block)
                  folder  (.toFile (Files/createTempDirectory "rsmapi-doc" (make-array FileAttribute 0)))
                  running (atom [])]]
      (try
        (reduce
         (fn [files [line expected]]
           (if-let [[_ text file] (re-matches #"echo '([^']*)' > (\S+)" line)]
             (let [path (io/file folder file)]
               (spit path (str text "\n"))
               (assoc files file (str path)))
             (let [[program & arguments] (words (exchange line ids))
                   arguments (map #(get files % %) arguments)
                   printed   (if (= "&" (last arguments))
                               (let [[thread printed] (start-rsm (butlast arguments))]
                                 (swap! running conj thread)
                                 printed)
                               (run-rsm arguments))
                   printed   (exchange printed (set/map-invert ids))]
               (is (= "rsm" program))
               (is (matches? expected printed) (str document ": " line "\nprints\n" printed))
               files)))
         {} (command-lines block))
        (finally
          (doseq [^Thread thread @running]
            (.interrupt thread)
            (.join thread 20000))
          (run! io/delete-file (reverse (file-seq folder))))))))

(deftest java-examples
  (doseq [document (documents)
          source (blocks document "compiles")]
    (let [class-name (second (re-find #"class (\w+)" source))
          dir (.toFile (Files/createTempDirectory "rsmapi-doc" (make-array FileAttribute 0)))
          file (io/file dir (str class-name ".java"))
          messages (java.io.ByteArrayOutputStream.)]
      (try
        (spit file source)
        (is (zero? (.run (ToolProvider/getSystemJavaCompiler) nil messages messages
                         (into-array String ["-d" (str dir) "-proc:none"
                                             "-cp" (System/getProperty "java.class.path") (str file)])))
            (str document ": " class-name "\n" messages))
        (finally (run! io/delete-file (reverse (file-seq dir))))))))
