(ns rsmapi.doc-test
  "The documentation against the code: docstrings, doc/errors.md, links, and the examples of
  README.md and doc/, which are run.

  An example that is run has a comment in the line before it:

    <!-- transcript -->  a REPL session: forms after the prompt `user=> `, and what was printed
    <!-- runs -->        forms, one after the other, in one namespace for each file; a comment
                         `;=> ` behind a form says what it gives, `...` in it stands for anything
    <!-- compiles -->    a Java class

  Segment ids are exchanged for free ones before the forms run, and back in the results."
  (:require [clojure.java.io :as io]
            [clojure.main]
            [clojure.set :as set]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.error :as error]
            [rsmapi.gen]
            [rsmapi.model]
            [rsmapi.runner :as runner])
  (:import (clojure.lang LineNumberingPushbackReader)
           (java.io File PushbackReader StringReader StringWriter)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (javax.tools ToolProvider)))

(set! *warn-on-reflection* true)

;; ------------------------------------------------------------------ files

(defn- root ^File []
  (-> (io/resource "rsmapi/runner.clj") io/file .getCanonicalFile
      .getParentFile .getParentFile .getParentFile))

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
  (doseq [n ['rsmapi.core 'rsmapi.error 'rsmapi.model 'rsmapi.gen]
          [fn-name v] (public n)]
    (is (not (str/blank? (:doc (meta v)))) (str n "/" fn-name " has no docstring"))
    (is (contains? (contents n) (in-contents fn-name))
        (str n "/" fn-name " is not in the table of contents"))))

(def ^:private codes (set (map :rsm/error error/table)))

(defn- errors-of
  "The errors that a docstring announces, in its order; what is in parentheses is explanation."
  [v]
  (when-let [announced (second (str/split (or (:doc (meta v)) "") #"Errors(?=:|, in order:)" 2))]
    (->> (str/replace announced #"\([^)]*\)" "")
         (re-seq #":(rsm)/([a-z-]+)")
         (map (fn [[_ n k]] (keyword n k)))
         (filter codes))))

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

(defn- documented-errors
  "What doc/errors.md says of each function: {\"map!\" [:rsm/bad-seg-hndl ...]}. A heading names
  functions, and the items of the numbered list below it begin with an error."
  []
  (second
   (reduce (fn [[current all] line]
             (if-let [heading (second (re-matches #"#+ (.*)" line))]
               (let [names (map second (re-seq #"`([^`]+)`" heading))]
                 [names (into all (map #(vector % [])) names)])
               (if-let [[_ k] (re-find #"^\d+\. `:rsm/([a-z-]+)`" line)]
                 [current (reduce #(update %1 %2 (fnil conj []) (keyword "rsm" k)) all current)]
                 [current all])))
           [nil {}]
           (str/split-lines (text "doc/errors.md")))))

(deftest the-errors-of-each-call
  (let [documented (documented-errors)
        announcing (into {} (keep (fn [[fn-name v]] (when (errors-of v) [(name fn-name) v])))
                         (public 'rsmapi.core))]
    (doseq [[fn-name v] announcing]
      (if (ordered? v)
        (is (= (errors-of v) (documented fn-name)) fn-name)
        (is (= (set (errors-of v)) (set (documented fn-name))) fn-name)))
    (is (= #{} (set/difference (set (keys documented))
                               (set (map name (keys (public 'rsmapi.core))))))
        "a heading names what there is not")))

;; The order of checks, where no docstring tells it: doc/errors.md does.

(defmacro ^:private refusal [call]
  `(:rsm/error (error/catching ~call)))

(deftest the-order-of-checks-in-access
  (rsm/with-controller [c "loopback"]
    (rsm/with-exported-segment [ex c {:size (rsm/page-size)}]
      (let [im (rsm/connect! c {:segment-id (rsm/segment-id ex)})
            m (rsm/map! im {:perm :read})]
        (testing "types, then the memory, then values and orders"
          (is (= :rsm/bad-offset (refusal (rsm/put-long! nil nil nil))))
          (is (= :rsm/bad-args-errors (refusal (rsm/put-long! nil 0 nil))))
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
  "Without what depends on where a line is in a source file, and without trailing space."
  [s]
  (-> (str/replace s #"\((\w+\.java):\d+\)" "($1)")
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

(deftest examples
  (when (documented-page?)
    (doseq [document (documents)
            :let [found (blocks document "runs")]
            :when (seq found)]
      (let [ids (free-ids (str/join found))
            here (create-ns (gensym "rsmapi.example"))]
        (try
          (binding [*ns* here
                    *data-readers* *data-readers*]
            (refer-clojure)
            (doseq [[forms expected] (mapcat steps found)
                    :let [value (reduce (fn [_ form] (eval form)) nil (read-all (exchange forms ids)))]
                    :when expected]
              (let [printed (exchange (pr-str value) (set/map-invert ids))]
                (is (matches? expected printed)
                    (str document ": " forms "\ngives " printed)))))
          (finally (remove-ns (ns-name here))))))))

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
