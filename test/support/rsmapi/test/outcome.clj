(ns rsmapi.test.outcome
  "The result of a call as a value, for tests that compare."
  (:import (org.rsmapi RsmException)))

(set! *warn-on-reflection* true)

(defmacro code
  "The :rsm/code of body's failure, 0 if it does not fail."
  [& body]
  `(try
     ~@body
     0
     (catch RsmException e#
       (:rsm/code (ex-data e#)))))

(defmacro failure
  "The :rsm/error of body's failure, nil if it does not fail."
  [& body]
  `(try
     ~@body
     nil
     (catch RsmException e#
       (:rsm/error (ex-data e#)))))

(defmacro outcome
  "The value of body, or the :rsm/error of its failure."
  [& body]
  `(try
     ~@body
     (catch RsmException e#
       (:rsm/error (ex-data e#)))))
