(ns rsmapi.bench.markdown
  "Results as the tables of doc/benchmarks.md. From the results of an earlier run:

    (println (rsmapi.bench.markdown/tables (:rows (clojure.edn/read-string (slurp \"target/bench/results.edn\")))))

  Those of a group into the page, where it has a place for them:

    bin/clojure -X:bench rsmapi.bench.markdown/into-page"
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [rsmapi.bench.stats :as stats]
            [rsmapi.bench.table :as table]))

(set! *warn-on-reflection* true)

(defn- cell
  "The median, and from the least to the most."
  [{:keys [samples]} unit]
  (if-let [{:keys [least median most]} (stats/spread samples)]
    (str (table/quantity median unit)
         (when (< (double least) (double most))
           (str " (" (table/quantity least unit) " to " (table/quantity most unit) ")")))
    ""))

(defn- line [cells] (str "| " (str/join " | " cells) " |"))

(defn- with-heading [heading lines]
  (str/join "\n" (concat [(line heading) (line (map (constantly "---") heading))] lines)))

(defn- verdicts [{:keys [judged]}]
  (str/join "; " (for [{:keys [verdict ratio more fastest plus below]} judged]
                   (cond plus  (str (when-not (neg? (double more)) "+") (table/quantity more "ns") " " (name verdict))
                         below (name verdict)
                         :else (format "%.2f x %s: %s" (double ratio) fastest (name verdict))))))

(defn- named-cell [side unit]
  (if side (str (cell side unit) " " (:side side)) ""))

(defn- compared
  "A table of a group in which there are sides of ours, peers and C: a line for each row and JDK."
  [rows]
  (with-heading
    ["" "JDK" "rsmapi, Java" "beside" "rsmapi, Clojure" "beside" "fastest peer" "C"]
    (for [{:keys [row unit sides]} rows
          jdk (sort (distinct (keep :jdk sides)))
          :let [on   (filter #(= jdk (:jdk %)) sides)
                ours #(first (filter (fn [s] (= % (:side s))) on))
                java (ours "rsmapi, Java"), clojure (ours "rsmapi, Clojure")]]
      (line [row jdk (cell java unit) (verdicts java) (cell clojure unit) (verdicts clojure)
             (named-cell (stats/fastest (filter #(= :peer (:role %)) on)) unit)
             (named-cell (stats/fastest (filter #(= :c (:role %)) sides)) unit)]))))

(defn- listed
  "A table of a group whose sides are no rivals: a line for each row and side."
  [rows]
  (let [jdks (sort (distinct (mapcat #(keep :jdk (:sides %)) rows)))]
    (with-heading
      (concat ["" ""] (mapcat #(vector (str "JDK " %) "beside") jdks))
      (for [{:keys [row unit sides]} rows
            name (distinct (map :side sides))
            :let [same (filter #(= name (:side %)) sides)]]
        (line (list* row name
                     (mapcat (fn [jdk]
                               (let [s (first (filter #(= jdk (:jdk %)) same))]
                                 [(cell s unit) (verdicts s)]))
                             jdks)))))))

(defn- side-by-side
  "Tables of a group in which each program does much: a line for each row and JDK, a column for each side. Sides that run on no
  JDK are in all lines."
  [rows]
  (str/join
   "\n\n"
   (for [rows (partition-by #(map :side (:sides %)) rows)
         :let [names (distinct (map :side (:sides (first rows))))]]
     (with-heading
       (list* "" "JDK" names)
       (for [{:keys [row unit sides]} rows
             jdk (or (seq (sort (distinct (keep :jdk sides)))) [nil])
             :let [on (filter #(contains? #{nil jdk} (:jdk %)) sides)]]
         (line (list* row (str jdk) (for [n names] (cell (first (filter #(= n (:side %)) on)) unit)))))))))

(defn- beside-goal [{:keys [ratio least-ratio fastest below samples verdict]} unit]
  (str (if below
         (table/quantity (:median (stats/spread samples)) unit)
         (format "%.2f x (least %.2f) %s" (double ratio) (double least-ratio) fastest))
       ": " (name verdict)))

(defn to-reach
  "A table of the targets of some rows: a line for each target and side, a column for each JDK."
  [rows]
  (let [jdks (sort (distinct (keep :jdk (mapcat :sides rows))))]
    (with-heading
      (list* "" "" "target" (map #(str "JDK " %) jdks))
      (for [{:keys [row unit sides]} rows
            [[side goal] judged] (group-by (juxt :side #(table/limit-text (:target %)))
                                           (for [s sides, j (:judged s)]
                                             {:side (:side s) :jdk (:jdk s) :target j :samples (:samples s)}))]
        (line (list* row side goal
                     (for [jdk jdks
                           :let [{:keys [target samples]} (first (filter #(= jdk (:jdk %)) judged))]]
                       (if target (beside-goal (assoc target :samples samples) unit) ""))))))))

(defn- between-hosts [rows]
  (str (to-reach rows) "\n\n" (side-by-side rows)))

(defn tables
  "All rows, a table for each group."
  [rows]
  (str/join "\n\n"
            (for [group (distinct (map :group rows))
                  :let [rows (filter #(= group (:group %)) rows)]]
              (str "### " (str/capitalize group) "\n\n"
                   (cond (= "hosts" group) (between-hosts rows)
                         (#{"scale" "start"} group) (listed rows)
                         :else (compared rows))))))

;; ------------------------------------------------------------ the page

(defn- caption
  "What figures depend on."
  [{:keys [time cpu processors kernel load-average load-average-at-the-end jdks c rounds seconds]}]
  (format "%s, %s processors (%s), Linux %s, %s, %s; `:rounds %s :seconds %s`. Load average: %s at the beginning, %s at the end."
          (subs time 0 10) processors cpu (re-find #"^\d+\.\d+" kernel) (str/join " and " (map #(str "JDK " (:version %)) jdks)) c rounds seconds
          load-average load-average-at-the-end))

(defn into-page
  "Puts the tables of a group into a page, between the lines `<!-- results of <group> -->` and `<!-- end of results -->`.

  Options:
    :group  default \"hosts\"
    :from   the results; default target/bench/results.edn
    :page   default doc/benchmarks.md"
  [{:keys [group from page] :or {group "hosts" from "target/bench/results.edn" page "doc/benchmarks.md"}}]
  (let [{:keys [rows] :as results} (edn/read-string (slurp from))
        begin (str "<!-- results of " group " -->\n")
        end   "<!-- end of results -->"
        text  (slurp page)
        start (str/index-of text begin)
        stop  (some->> start (str/index-of text end))]
    (when (:quick results)
      (throw (ex-info (str from " is of a run in quick mode") {})))
    (when-not stop
      (throw (ex-info (str page " has no place for the results of " group) {})))
    (spit page (str (subs text 0 start) begin "\n" (caption results) "\n\n"
                    (str/replace (tables (filter #(= group (:group %)) rows)) #"(?m)\A###.*\n\n" "")
                    "\n\n" (subs text stop)))))
