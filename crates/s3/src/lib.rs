//! Journal and store on Amazon S3.
