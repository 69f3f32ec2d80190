(ns rsmapi.kondo-test
  "What clj-kondo is told about the library. clj-kondo itself is not used here: its hooks are run as
  plain Clojure, with the two functions of its API that they call."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.test :refer [deftest is testing]]
            [rsmapi.core :as rsm]
            [rsmapi.layout :as layout]
            [rsmapi.sim]))

(set! *warn-on-reflection* true)

(def ^:private place "clj-kondo.exports/io.github.rsmapi/rsmapi/")

(def ^:private config
  (delay (edn/read-string (slurp (io/resource (str place "config.edn"))))))

(def ^:private findings (atom []))

(defn- load-hooks! []
  (when-not (find-ns 'clj-kondo.hooks-api)
    (let [api (create-ns 'clj-kondo.hooks-api)]
      (intern api 'sexpr :form)
      (intern api 'reg-finding! #(swap! findings conj %))
      (dosync (alter @#'clojure.core/*loaded-libs* conj 'clj-kondo.hooks-api))))
  (load-file (str (io/file (io/resource (str place "hooks/io/github/rsmapi/rsmapi.clj_kondo"))))))

(deftest each-macro-has-a-hook
  (load-hooks!)
  (let [hooks  (get-in @config [:hooks :macroexpand])
        macros (for [[sym v] (ns-publics 'rsmapi.core) :when (:macro (meta v))] (symbol "rsmapi.core" (str sym)))]
    (is (= (conj (set macros) 'rsmapi.layout/defaccessors 'rsmapi.sim/with-world) (set (keys hooks))))
    (doseq [[macro hook] (dissoc hooks 'rsmapi.layout/defaccessors)
            :let [expanded (macroexpand-1 (list hook '[x a {:b c}] '(f x) '(g x)))
                  [op [sym [function & args]] & body] expanded]]
      (testing macro
        (is (= `(let ~'x) [op sym]))
        (is (= '[a {:b c}] args) "arguments are seen by the linter")
        (is (= '[(f x) (g x)] body))
        (is (some-> (resolve function) meta :arglists) "the value is one of a public function")))))

(deftest accessors-are-declared
  (load-hooks!)
  (let [layout '[:struct [:seq :u64] [:levels [:array 3 [:struct {:packed true} [:px :f64]]]]]
        hook   (get-in @config [:hooks :macroexpand 'rsmapi.layout/defaccessors])]
    (layout/defaccessors sample [:struct [:seq :u64] [:levels [:array 3 [:struct {:packed true} [:px :f64]]]]])
    (let [[op form & more] (macroexpand-1 (list hook 'sample layout :offset '(f x)))
          declared (rest (last more))]
      (is (= ['do layout] [op form]))
      (is (= [:offset '(f x)] (butlast more)) "options are seen by the linter")
      (is (= '[sample-seq sample-seq! sample-levels-px sample-levels-px!] declared))
      (is (every? #(ns-resolve 'rsmapi.kondo-test %) declared) "as the macro itself defines them"))
    (is (= '(do quote-layout (clojure.core/declare)) (macroexpand-1 (list hook 'quote 'quote-layout))))))

(deftest arities-of-generated-functions
  (load-hooks!)
  (let [hooks (get-in @config [:hooks :analyze-call])
        hook  (fn [form]
                (reset! findings [])
                (doseq [h (distinct (vals hooks))]
                  ((resolve h) {:node   (with-meta {:children (map #(hash-map :form %) form)} {:row 7 :col 3})
                                :config @config}))
                @findings)]
    (is (< 80 (count hooks)))
    (doseq [[function _] hooks
            :let [v        (or (resolve function) (throw (ex-info "no such function" {:function function})))
                  sym      (symbol "rsm" (name function))
                  declared (set (map count (:arglists (meta v))))]
            n (range 9)]
      (is (= (contains? declared n) (empty? (hook (cons sym (repeat n 'x))))) (str function " " n)))
    (is (= [{:row 7 :col 3 :type :rsmapi/arity
             :message "rsmapi.core/get-long is called with 1 argument but takes 2 or 3"}]
           (hook '(rsm/get-long m))))
    (is (empty? (hook '(rsm/size))) "others are clj-kondo's own affair")))

(deftest what-is-excluded-exists
  (doseq [function (get-in @config [:linters :unresolved-var :exclude])]
    (is (resolve function) function)))
