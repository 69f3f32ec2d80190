(ns rsmapi.cli
  "The command line: look at segments and change them from a shell.

    clojure -M:rsm ls
    clojure -M:rsm stat ID
    clojure -M:rsm dump ID [--offset N] [--length N] [--layout FILE]
    clojure -M:rsm watch ID
    clojure -M:rsm put ID OFFSET TYPE VALUE
    clojure -M:rsm export FILE
    clojure -M:rsm key [FILE] [--make]
    clojure -M:rsm gateway [--status]
    clojure -M:rsm topology
    clojure -M:rsm errors [CODE]

  --help describes each. --edn prints EDN for programs. Exit codes:

    0    done
    1    an RSM error
    2    the command line is wrong
    3    the exporter has not answered in time
    4    the exporter has revoked the segment or has ended
    70   the program itself failed, or a part of it is missing
    74   the output cannot be written
    130  Ctrl-C; 143 SIGTERM; 141 nobody reads the output any more

  An error is printed to standard error: a line that says what happened and one with a hint, or
  with --edn its data. Needs org.clojure/tools.cli. rsmapi.tool has the same commands as functions."
  (:require [clojure.string :as str]
            [clojure.tools.cli :as cli]
            [rsmapi.impl.args :as args]
            [rsmapi.impl.command :as command]
            [rsmapi.impl.command.change :as change]
            [rsmapi.impl.command.common :as common]
            [rsmapi.impl.command.watch :as watch]
            [rsmapi.impl.show :as show]
            [rsmapi.impl.text :as text])
  (:import (java.io BufferedWriter FileDescriptor FileOutputStream IOException OutputStream OutputStreamWriter PrintWriter)
           (java.nio.charset Charset)
           (java.nio.file Files LinkOption Path)
           (org.rsmapi RsmError RsmException)
           (org.rsmapi.spi Entrance)
           (org.rsmapi.sys Terminal)))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private done 0)
(def ^:private failed 1)
(def ^:private wrong-usage 2)
(def ^:private timed-out 3)
(def ^:private gone 4)
(def ^:private broken 70)
(def ^:private no-output 74)
(def ^:private no-reader 141)

;; ---------------------------------------------------------------- options

;; tools.cli would take a negative number for an option
(def ^:private negative "\u0000-")

(defn- protect [arg]
  (if (re-matches #"-\.?\d.*" arg) (str negative (subs arg 1)) arg))

(defn- unprotect [arg]
  (if (str/starts-with? arg negative) (str "-" (subs arg 2)) arg))

(defn- number-option [short long placeholder doc]
  [short (str long " " placeholder) doc
   :parse-fn (comp common/parse-integer unprotect)
   :validate [some? "give an integer, decimal or with 0x"]])

(defn- octal [text]
  (when (re-matches #"0?[0-7]{3}" text)
    (Long/parseLong text 8)))

(def ^:private help-option ["-h" "--help" "print this"])
(def ^:private edn-option [nil "--edn" "print EDN"])
(def ^:private controller-option ["-c" "--controller NAME" "loopback, shm0 to shm31, or net0 to net7; default: loopback"])

(def ^:private plain-options [edn-option help-option])

(def ^:private connect-options
  [controller-option
   (number-option "-n" "--node" "N" "the exporter's node; default: this process's")
   (number-option nil "--from-node" "N" "this process's node on an shm controller; default: RSMAPI_NODE, or 0")
   (number-option "-t" "--timeout-ms" "N"
                  (str "how long to wait for the exporter; default: " common/default-timeout-ms))
   edn-option help-option])

(def ^:private layout-options
  [[nil "--layout FILE" "a layout as EDN, such as [:struct [:seq :u64] [:price :f64]]"]
   [nil "--fields" "the layout with which the segment is published"]])

(defn- window-options [length]
  [(number-option "-o" "--offset" "N" "where to start, in bytes; default: 0")
   (number-option "-l" "--length" "N" (str "in bytes; default: " length))])

(def ^:private commands
  {"ls"
   {:does "list the published segments of this machine"
    :options (into [(number-option "-n" "--node" "N" "only those of this node")] plain-options)}
   "stat"
   {:does "connect to a segment and print its size, permission and exporter"
    :arguments ["ID"]
    :options connect-options}
   "dump"
   {:does "print the bytes of a segment"
    :arguments ["ID"]
    :options (vec (concat (window-options "up to the end") layout-options connect-options))}
   "watch"
   {:does "print what changes in a segment, until the exporter ends; on a terminal, redraw it"
    :arguments ["ID"]
    :options (vec (concat (window-options watch/default-length)
                          [(number-option "-i" "--interval-ms" "N"
                                          (str "time between looks; default: " watch/default-interval-ms))
                           (number-option nil "--changes" "N" "end after so many changes")]
                          layout-options connect-options))}
   "put"
   {:does "write a value"
    :arguments ["ID" "OFFSET" "TYPE" "VALUE"]
    :with-layout ["ID" "FIELD" "VALUE"]
    :more [(str "TYPE is one of " (str/join " " change/type-names) ".")
           "With a layout, FIELD is a path such as orders[2].price, and --offset is where the layout starts."]
    :options (vec (concat layout-options
                          [(number-option "-o" "--offset" "N" "where the layout starts, in bytes; default: 0")
                           [nil "--byte-order ORDER" "little-endian or big-endian; default: the exporter's"]
                           [nil "--signal" "post an event afterwards"]]
                          connect-options))}
   "export"
   {:does "export the content of a file as a segment until interrupted, and print the segment's id"
    :arguments ["FILE"]
    :options [(number-option "-i" "--id" "ID" "the segment id; default: one is assigned")
              [nil "--perm OCTAL" "the permission for each node, such as 0644; default: 0666 less the umask"
               :parse-fn octal :validate [some? "give three octal digits"]]
              controller-option
              (number-option "-n" "--node" "N" "this process's node on an shm controller; default: RSMAPI_NODE, or 0")
              edn-option help-option]}
   "key"
   {:does "show the key of this host, or make it"
    :arguments ["[FILE]"]
    :more ["FILE is by default that of net0: RSMAPI_KEY, or /etc/rsm/rsm.key."]
    :options (into [[nil "--make" "make the key; the file must not be there yet"]
                    (number-option nil "--days" "N" "with --make: for how long it is accepted; default: 3650")]
                   plain-options)}
   "gateway"
   {:does "be the gateway of this host until interrupted, or tell how it is doing"
    :options [["-c" "--controller NAME" "net0 to net7; default: net0"]
              [nil "--status" "tell how the gateway of this host is doing, whichever process that is"]
              (number-option "-t" "--timeout-ms" "N" "with --status: how long to wait; default: 5000")
              edn-option help-option]}
   "topology"
   {:does "print the controllers and nodes that can be reached"
    :options plain-options}
   "errors"
   {:does "print the errors of the RSMAPI, or one of them"
    :arguments ["[CODE]"]
    :more ["CODE is a number, or a name such as bad-offset or RSMERR_BAD_OFFSET."]
    :options plain-options}})

(def ^:private order ["ls" "stat" "dump" "watch" "put" "export" "key" "gateway" "topology" "errors"])

;; ------------------------------------------------------------------- help

(defn- synopsis [command arguments]
  (str/join " " (concat ["rsm" command] arguments ["[options]"])))

(defn- command-help [command]
  (let [{:keys [does arguments with-layout more options]} (commands command)]
    (str/join "\n" (concat [(str "usage: " (synopsis command arguments))]
                           (when with-layout
                             [(str "       " (synopsis command (conj with-layout "--layout FILE|--fields")))])
                           ["" (str (text/upper-case (subs does 0 1)) (subs does 1) ".")]
                           (when (some #{"ID"} arguments) ["ID is a segment id, such as 0x600001."])
                           more
                           ["" (:summary (cli/parse-opts [] options))]))))

(def ^:private general-help
  (str/join "\n" (concat ["usage: rsm COMMAND [arguments] [options]" ""]
                         (for [command order]
                           (str "  " (text/padded command 9) " " (:does (commands command))))
                         ["" "rsm COMMAND --help lists the options."
                          "--edn prints EDN; an error is then printed as its data, to standard error."
                          ""
                          "Exit codes: 0 done, 1 RSM error, 2 wrong usage, 3 timeout, 4 the exporter has revoked the"
                          "segment or has ended, 70 failure of the program, 74 output cannot be written,"
                          "130 interrupted, 141 the output's reader has ended."])))

;; ---------------------------------------------------------------- parsing

(defn- usage-failure [command argument hint]
  (args/failure RsmError/BAD_ARGS_ERRORS (or command "rsm") :argument argument :hint hint))

(defn- integer-argument [command argument text]
  (or (common/parse-integer text)
      (throw (usage-failure command argument "give an integer, decimal or with 0x"))))

(defn- positional
  "The arguments that are no options, as a map."
  [command given layout]
  (let [{:keys [arguments with-layout]} (commands command)
        expected (if (and layout with-layout) with-layout arguments)
        required (count (remove #(str/starts-with? % "[") expected))]
    (when-not (<= required (count given) (count expected))
      (throw (usage-failure command "arguments" (if (seq expected) (str "give " (str/join " " expected)) "there are none"))))
    (into {}
          (map (fn [argument text]
                 (case argument
                   "ID"     [:id (integer-argument command "ID" text)]
                   "OFFSET" [:offset (integer-argument command "OFFSET" text)]
                   "TYPE"   [:type text]
                   "VALUE"  [:value text]
                   "FIELD"  [:field text]
                   ("FILE" "[FILE]") [:file text]
                   "[CODE]" [:code text]))
               expected given))))

(defn- parse
  "A command line as {:command keyword, :opts map}, or {:help text}."
  [given]
  (let [given (map protect given)
        [before [command & after]] (split-with #(str/starts-with? % "-") given)
        help? (some #{"-h" "--help"} before)]
    (cond
      (and help? (nil? command)) {:help general-help}
      (= "help" command)         (recur (concat (map unprotect after) ["--help"]))
      (nil? command)             (throw (usage-failure nil "command" (str "the commands are " (str/join " " order))))
      (not (commands command))   (throw (usage-failure nil "command" (str "there is no command " command "; the commands are "
                                                                          (str/join " " order))))
      :else
      (let [{:keys [options arguments errors]} (cli/parse-opts (concat before after) (:options (commands command)))
            {:keys [help layout fields]} options]
        (cond
          help         {:help (command-help command)}
          (and layout fields) (throw (usage-failure command "--layout" "give it or --fields"))
          (seq errors) (throw (usage-failure command "options" (str/join "; " (map #(str/replace % negative "-") errors))))
          :else        {:command (keyword command)
                        ;; --offset and an argument OFFSET exclude each other
                        :opts (let [opts  (cond-> (dissoc options :help :edn :fields)
                                            fields (assoc :layout :published))
                                    found (positional command (map unprotect arguments) (:layout opts))]
                                (if-let [twice (some #(when (contains? opts %) %) (keys found))]
                                  (throw (usage-failure command (str "--" (name twice)) "it is given twice"))
                                  (merge opts found)))})))))

;; ----------------------------------------------------------------- errors

(defn- exit-code [^RsmException e]
  (condp = (.error e)
    RsmError/BAD_ARGS_ERRORS wrong-usage
    RsmError/TIMEOUT         timed-out
    RsmError/CONN_ABORTED    gone
    failed))

(defn- without-hint
  "The message of an error, which ends with its hint."
  [^RsmException e]
  (let [message (ex-message e)
        suffix  (str ". Hint: " (:rsm/hint (ex-data e)))]
    (if (str/ends-with? message suffix)
      (subs message 0 (- (count message) (count suffix)))
      message)))

(defn- explanation
  "An error as [message hint]."
  [^RsmException e]
  (let [{:rsm/keys [op argument hint]} (ex-data e)
        command (name op)]
    (if (and (= RsmError/BAD_ARGS_ERRORS (.error e)) (or (= "rsm" command) (commands command)))
      [(str (when-not (= "rsm" command) (str command ": ")) argument ": " hint)
       (str "rsm " (when-not (= "rsm" command) (str command " ")) "--help")]
      [(str/replace (without-hint e) #"(?<=\bsegment-id )\d{1,18}" #(show/id-text (parse-long %)))
       hint])))

(defn- tell
  "Prints an error."
  [style edn e]
  (binding [*out* *err*]
    (if edn
      (show/print-edn (ex-data e))
      (let [[message hint] (explanation e)]
        (println (str (show/paint style :failure "rsm:") " " message))
        (when hint
          (println (str "hint: " hint)))))
    (flush)))

(defn- tell-unexpected [edn ^Throwable t]
  (binding [*out* *err*]
    (if edn
      (show/print-edn {:rsm/error :rsm/internal-error :class (.getName (class t)) :message (ex-message t)})
      (println (str "rsm: an unexpected failure: " t)))
    (flush)))

(defn- output-failure?
  "Whether a failure is one of writing the output."
  [t]
  (contains? (ex-data t) ::output))

(defn run
  "Runs a command line, a sequence of strings, and returns the exit code. Prints to *out* and
  *err*. Options: :terminal, whether *out* is a terminal whose cursor can be moved, and :colour,
  whether it has colours; both default to false."
  ([arguments] (run arguments nil))
  ([arguments {:keys [terminal colour]}]
   (let [edn   (boolean (some #{"--edn"} arguments))
         style {:edn edn :terminal terminal :colour colour}]
     (try
       (let [{:keys [help command opts]} (parse arguments)]
         (if help
           (println help)
           (command/perform command opts style))
         (flush)
         done)
       (catch RsmException e
         (flush)
         (tell style edn e)
         (exit-code e))
       (catch Throwable t
         (if (output-failure? t)
           (throw t)
           (do (flush)
               (tell-unexpected edn t)
               broken)))))))

;; ------------------------------------------------------------ the program

(defn- reader-gone?
  "Whether a failure to write the standard output is the end of who reads it: if it is a pipe or
  a socket. In a file, there is no room."
  []
  (try
    (let [mode (Files/getAttribute (Path/of "/dev/stdout" (make-array String 0)) "unix:mode" (make-array LinkOption 0))]
      (contains? #{0x1000 0xc000} (bit-and (long mode) 0xf000)))
    (catch Exception _ true)))

(defn- standard-output
  "Standard output that says when it cannot be written, other than System/out."
  []
  (let [file (FileOutputStream. FileDescriptor/out)
        call (fn [f]
               (try
                 (f)
                 (catch IOException e
                   (throw (ex-info (str "the output cannot be written: " (ex-message e)) {::output true})))))]
    (proxy [OutputStream] []
      (write
        ([b] (call #(if (bytes? b) (.write file ^bytes b) (.write file (int b)))))
        ([b from n] (call #(.write file ^bytes b (int from) (int n)))))
      (flush [] nil))))

(defn- charset []
  (try
    (Charset/forName (or (System/getProperty "stdout.encoding")
                         (System/getProperty "sun.stdout.encoding")
                         (System/getProperty "native.encoding")))
    (catch IllegalArgumentException _
      (Charset/defaultCharset))))

(defn- terminal? []
  (try
    (Entrance/require "rsm")
    (Terminal/isTerminal Terminal/STDOUT)
    (catch RsmException _ false)
    (catch LinkageError _ false)))

(defn- main
  "Runs a command line with the process's own output, and returns the exit code."
  [arguments]
  (let [terminal (and (terminal?) (not= "dumb" (System/getenv "TERM")))
        colour   (and terminal (str/blank? (System/getenv "NO_COLOR")))]
    (binding [*out* (BufferedWriter. (OutputStreamWriter. ^OutputStream (standard-output) ^Charset (charset)))
              *err* (PrintWriter. System/err true)]
      (try
        (run arguments {:terminal terminal :colour colour})
        (catch clojure.lang.ExceptionInfo e
          (cond
            (not (output-failure? e)) (throw e)
            (reader-gone?) no-reader
            :else (do (binding [*out* *err*]
                        (println (str "rsm: " (ex-message e))))
                      no-output)))))))

(defn -main
  "The program: runs its command line and ends the JVM with the exit code."
  [& arguments]
  (System/exit (main (map str arguments))))
