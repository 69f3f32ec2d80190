(ns rsmapi.test.deep
  "Calls near the end of a thread's stack: at each depth from where a call succeeds to where it cannot begin."
  (:import (java.util.concurrent Callable FutureTask)))

(set! *warn-on-reflection* true)

(defn- down
  "Calls f from so many frames deeper."
  [^long n f]
  (if (zero? n)
    (f)
    (let [result (down (dec n) f)]
      result)))

(def ^:private stack-bytes 393216)

(defn- on-small-stack [f]
  (let [task (FutureTask. ^Callable f)]
    (.start (Thread. nil task "deep" stack-bytes))
    (.get task)))

(defn- outcome [n f]
  (try
    (down n f)
    (catch Throwable t t)))

(defn- deepest
  "How many frames there is room for."
  ^long []
  (loop [good 0, bad 100000]
    (if (< (- bad good) 2)
      good
      (let [middle (quot (+ good bad) 2)]
        (if (instance? StackOverflowError (outcome middle (constantly nil)))
          (recur good middle)
          (recur middle bad))))))

(defn at-each-depth
  "Calls f once normally and then at each of the last so many depths of a small stack, and checks each time, with all of the
  stack, by a function of what f returned or threw, which returns nil or what is wrong. Returns what is wrong, and how often
  the call succeeded and overflowed.

  The thread's own name for an overflow is StackOverflowError; a call that begins too deep is one."
  [depths f check]
  (on-small-stack
   (fn []
     (let [first-flaw (check (f))
           end (deepest)]
       (loop [n (max 0 (- end (long depths))), found {:flaws (if first-flaw [first-flaw] []) :done 0 :overflows 0}]
         (if (or (< (+ end 10) n) (< 3 (count (:flaws found))))
           found
           (let [result (outcome n f)
                 flaw   (check result)]
             (recur (inc n)
                    (cond-> (update found (if (instance? Throwable result) :overflows :done) inc)
                      flaw (update :flaws conj [(- n end) flaw]))))))))))
